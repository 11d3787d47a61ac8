"""rlsgen keys and token: signing keys of a database, and a token minted by hand."""

from __future__ import annotations

from typing import Annotated

import typer

from rlsgen.catalog.connect import open_connection
from rlsgen.cli.context import read_context
from rlsgen.cli.options import (
    DEFAULT_SPEC,
    ContextEntries,
    ContextJson,
    Dsn,
    OutputFormat,
    SigningKeyText,
    SpecPath,
)
from rlsgen.cli.output import Exit, Format, err, examples, say, show_table, write, write_json
from rlsgen.provision.keys import create_key, list_keys, retire, rotate
from rlsgen.runtime.token import DEFAULT_LIFETIME_SECONDS, MAX_LIFETIME_SECONDS, SigningKey, mint
from rlsgen.spec.load import load_spec

keys = typer.Typer(no_args_is_help=True, help="Signing keys of a database: several may be valid at once.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(
        keys,
        name="keys",
        epilog=examples("rlsgen keys rotate  (deploy the new key, then:)", "rlsgen keys retire 3f9c2a71b0de"),
    )
    app.command(
        epilog=examples(
            "rlsgen token --context organisationId=1 --context userId=user_1",
            "psql -c \"BEGIN; SELECT rlsgen.set_context('$(rlsgen token -c userId=me)'); SELECT * FROM notes\"",
        )
    )(token)


@keys.command(epilog=examples("export RLSGEN_SIGNING_KEY=$(rlsgen keys create)"))
def create(dsn: Dsn = None, format: OutputFormat = Format.text) -> int:
    """Make a signing key and print it, once. The database keeps what verifies, not the key."""
    with open_connection(dsn) as connection:
        return _show(create_key(connection), format)


@keys.command("rotate", epilog=examples("rlsgen keys rotate"))
def rotate_(dsn: Dsn = None, format: OutputFormat = Format.text) -> int:
    """Make a new key beside the old ones, which stay valid until you retire them.

    In a database that was copied from another server it also renews the key of the seals.
    """
    with open_connection(dsn) as connection:
        return _show(rotate(connection), format)


def _show(key: SigningKey, format: Format) -> int:
    if format is Format.json:
        write_json({"kid": key.kid, "signing_key": key.reveal()})
    else:
        write(key.reveal())
        err().print(f"key {key.kid}: shown this once; keep it where your secrets are, as RLSGEN_SIGNING_KEY")
    return Exit.FINE


@keys.command("list", epilog=examples("rlsgen keys list", "rlsgen keys list --format json"))
def list_(dsn: Dsn = None, format: OutputFormat = Format.text) -> int:
    """Show which keys there are; nothing secret."""
    with open_connection(dsn) as connection:
        found = list_keys(connection)
    rows = [
        {
            "kid": key.kid,
            "created": key.created_at.isoformat(timespec="seconds"),
            "age_days": key.age.days,
            "state": "valid" if key.valid else "retired",
            "copied": key.copied,
        }
        for key in found
    ]
    if format is Format.json:
        write_json({"keys": rows})
        return Exit.FINE
    if not rows:
        say("There are no keys: make one with rlsgen keys create.")
        return Exit.FINE
    cells = [
        [
            str(row["kid"]),
            str(row["state"]),
            str(row["created"]),
            f"{row['age_days']} days",
            "made on another server: rotate and retire it" if row["copied"] else "",
        ]
        for row in rows
    ]
    show_table("Signing keys", ["key", "state", "created", "age", "note"], cells)
    return Exit.FINE


@keys.command("retire", epilog=examples("rlsgen keys retire 3f9c2a71b0de"))
def retire_(
    kid: Annotated[str, typer.Argument(help="The key's id, as `rlsgen keys list` shows it.")],
    dsn: Dsn = None,
    force: Annotated[
        bool, typer.Option("--force", help="Even if it is the last one: no conversation can start then.")
    ] = False,
    format: OutputFormat = Format.text,
) -> int:
    """Stop taking tokens that a key signed, at once."""
    with open_connection(dsn) as connection:
        retire(connection, kid, force=force)
    if format is Format.json:
        write_json({"retired": kid})
    else:
        say(f"Key {kid} is retired.")
    return Exit.FINE


def token(
    signing_key: SigningKeyText,
    context: ContextEntries = None,
    context_json: ContextJson = None,
    spec: SpecPath = DEFAULT_SPEC,
    lifetime: Annotated[
        int, typer.Option(min=1, max=MAX_LIFETIME_SECONDS, help="Seconds until it expires.")
    ] = DEFAULT_LIFETIME_SECONDS,
) -> int:
    """Mint a context token for psql or a script: BEGIN; SELECT rlsgen.set_context('…');"""
    declared = load_spec(spec)
    values = read_context(declared, context or [], context_json)
    write(mint(SigningKey.parse(signing_key), declared.context, values, lifetime_seconds=lifetime))
    return Exit.FINE
