"""The spec that holds now, to compare with: a file, or what git has at a revision."""

from __future__ import annotations

import subprocess
from pathlib import Path

from rlsgen.errors import RlsgenError
from rlsgen.spec.load import load_spec, parse_spec
from rlsgen.spec.model import Spec

_HINT = "name a file, or what git has: --base origin/main:policies.yaml (in CI, fetch the base branch first)"


def load_base(base: str) -> Spec | None:
    """The spec that `base` names: a file, or REVISION:PATH as git has it, PATH from the repository's root.

    Returns:
        The spec; None if the revision is there and has no such file, or is the HEAD of a repository without commits.

    Raises:
        RlsgenError: there is neither such a file nor such a revision.
        SpecError: what is there is no valid spec.
    """
    path = Path(base)
    if path.exists():
        return load_spec(path)
    revision, colon, name = base.partition(":")
    if not colon or not revision or not name:
        raise RlsgenError(f"--base {base}: there is no such file", hint=_HINT)
    if _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").returncode:
        if revision == "HEAD" and _git("rev-parse", "--git-dir").returncode == 0:
            return None  # before the first commit
        raise RlsgenError(f"--base {base}: git has no revision {revision} here", hint=_HINT)
    if _git("cat-file", "-e", "--end-of-options", base).returncode:
        return None
    shown = _git("cat-file", "blob", "--end-of-options", base)
    if shown.returncode:
        raise RlsgenError(
            f"--base {base}: this is no file: {shown.stderr.decode(errors='replace').strip()}", hint=_HINT
        )
    try:
        return parse_spec(shown.stdout.decode(), base)
    except UnicodeDecodeError:
        raise RlsgenError(f"--base {base}: this is not UTF-8", hint=_HINT) from None


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", *arguments], check=False, capture_output=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise RlsgenError("--base names a revision, and git is not installed", hint="name a file instead") from None
