"""The shape of `policies.yaml` before anybody reads its SQL: raw values, short forms written out, the JSON Schema."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from rlsgen.spec.model import Command
from rlsgen.spec.names import MAX_NAME_BYTES

_UNITS = {"B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3}
ContextType = Literal[
    "integer", "bigint", "uuid", "text", "boolean", "date", "timestamptz",
    "integer[]", "bigint[]", "uuid[]", "text[]", "boolean[]", "date[]", "timestamptz[]",
]  # fmt: skip


def _name(value: str) -> str:
    size = len(value.encode())
    if not value:
        raise PydanticCustomError("name", "is empty, and nothing in Postgres has an empty name")
    if size > MAX_NAME_BYTES:
        facts = {"size": size, "most": MAX_NAME_BYTES}
        raise PydanticCustomError("name", "is {size} bytes long, and names in Postgres end after {most}", facts)
    return value


def _version(value: object) -> object:
    if type(value) is not int or value != 1:
        raise PydanticCustomError("version", "must be 1, the only version of this format")
    return value


def _unique(values: list[Any]) -> list[Any]:
    twice = sorted({str(value) for value in values if values.count(value) > 1})
    if twice:
        raise PydanticCustomError("unique", "names {twice} more than once", {"twice": ", ".join(twice)})
    return values


def _size(value: object) -> object:
    """20MB as bytes; 1024 of one unit make the next, as in Postgres' own settings."""
    if not isinstance(value, str):
        return value
    number = value.rstrip("kMGB")
    unit = value[len(number) :]
    if not (number.strip().isascii() and number.strip().isdigit() and unit in _UNITS):
        raise PydanticCustomError("size", "must be a whole number, alone or with a unit: 512kB, 20MB, 1GB")
    return int(number) * _UNITS[unit]


def _switch(value: object) -> object:
    """YAML 1.1 reads on and off as booleans, YAML 1.2 (most editors) as text."""
    return {"on": True, "off": False}.get(value, value) if isinstance(value, str) else value


def _day(value: object) -> object:
    """2027-01-31, which YAML may also give as text."""
    try:
        return date.fromisoformat(value) if isinstance(value, str) and len(value) == len("2027-01-31") else value
    except ValueError:
        raise PydanticCustomError("day", "is no day of the calendar; write it as 2027-01-31") from None


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Version = Annotated[int, BeforeValidator(_version), WithJsonSchema({"const": 1})]
LiteralName = Annotated[str, AfterValidator(_name)]
LiteralNames = Annotated[list[LiteralName], AfterValidator(_unique)]
Commands = Annotated[list[Command], AfterValidator(_unique), Field(min_length=1)]
_SIZE_SCHEMA = [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[0-9]+ *(B|kB|MB|GB)$"}]
Size = Annotated[int, BeforeValidator(_size), Field(ge=1), WithJsonSchema({"anyOf": _SIZE_SCHEMA})]
Switch = Annotated[bool, BeforeValidator(_switch), WithJsonSchema({"enum": ["on", "off", True, False]})]
Day = Annotated[date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]
Reason = Annotated[str, Field(min_length=1)]
_TEXTS_SCHEMA = [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]
Texts = Annotated[list[str], BeforeValidator(_listed), Field(min_length=1), WithJsonSchema({"anyOf": _TEXTS_SCHEMA})]


class Raw(BaseModel):
    """Base of the raw models: no unknown keys, no conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ShortRaw(Raw):
    """A mapping that may also be written as one string; `expand` says what the string stands for."""

    @classmethod
    def expand(cls, short: str) -> dict[str, object]:
        """The mapping that a string stands for."""
        raise NotImplementedError

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: object) -> object:
        return cls.expand(value) if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core_schema))
        return {"anyOf": [cls.short_schema(), schema]}

    @classmethod
    def short_schema(cls) -> JsonSchemaValue:
        """The JSON Schema of the string form."""
        return {"type": "string"}


class RawField(ShortRaw):
    """One fact about a conversation's user; the short form is the type alone."""

    type: ContextType = Field(
        description="The SQL type of the value; columns of other types compare with it after a cast of the value.",
        examples=["integer", "uuid", "text[]"],
    )
    required: bool = Field(
        default=True, description="Whether every conversation must have it; an absent one is NULL.", examples=[False]
    )
    minimum: int | None = Field(
        default=None, description="The smallest value of an integer or bigint, or of each in an array.", examples=[1]
    )
    maximum: int | None = Field(
        default=None, description="The largest value of an integer or bigint, or of each in an array.", examples=[1000]
    )
    pattern: str | None = Field(
        default=None,
        description="What a text must match as a whole: characters, [classes], groups, |, and repetitions * + ? {m,n}.",
        examples=["[A-Za-z0-9_.@-]{1,128}"],
    )
    max_length: int | None = Field(
        default=None,
        alias="maxLength",
        ge=1,
        description="The most characters of a text, or of each in an array.",
        examples=[128],
    )
    max_items: int | None = Field(
        default=None, alias="maxItems", ge=1, description="The most items of an array.", examples=[100]
    )
    loggable: bool = Field(
        default=True, description="Whether the audit log may hold the value; false for personal data.", examples=[False]
    )

    @classmethod
    def expand(cls, short: str) -> dict[str, object]:
        """`organisationId: integer`."""
        return {"type": short}

    @classmethod
    def short_schema(cls) -> JsonSchemaValue:
        """The types."""
        return {"enum": list(ContextType.__args__)}  # type: ignore[attr-defined]


class RawRoles(Raw):
    """Who runs untrusted SQL, and whose access stays as it was."""

    conversation: LiteralName = Field(
        description="The LOGIN role that runs untrusted SQL. rlsgen owns all its privileges in this database.",
        examples=["nl_conversation"],
    )
    unrestricted: LiteralNames = Field(
        default=[],
        description="Roles that notice nothing: the application, the owner that migrates, ETL.",
        examples=[["shop_owner", "shop_app"]],
    )


class RawColumns(Raw):
    """Columns of a table that need care; literal names."""

    hide: LiteralNames = Field(
        default=[], description="Columns that the conversation role may not read.", examples=[["password_hash"]]
    )
    private: LiteralNames = Field(
        default=[],
        description="Columns that keep no statistics, so that no query plan gives other organisations' values away.",
        examples=[["email"]],
    )


_NO_COLUMNS = RawColumns()  # pydantic would copy a plain default for every table


class RawViewColumns(Raw):
    """Columns of a view that need care; literal names."""

    hide: LiteralNames = Field(
        default=[], description="Columns that the conversation role may not read.", examples=[["margin"]]
    )


class RawTable(ShortRaw):
    """What may be seen of one table. The short form is the filter alone, or `hidden`. `{}` takes the default filter."""

    access: Literal["scoped", "shared", "hidden"] = Field(
        default="scoped",
        description="scoped: the filter decides. shared: everyone reads all of it (say why). hidden: nobody reads it.",
        examples=["shared"],
    )
    filter: str | None = Field(
        default=None,
        description="Which rows are visible: a Postgres condition; userContext.<field> is a fact of the conversation.",
        examples=["organisation_id = userContext.organisationId"],
    )
    check: str | None = Field(
        default=None,
        description="Which rows may be written, before and after the write; the filter where it is left out.",
        examples=["organisation_id = userContext.organisationId"],
    )
    through: Texts | None = Field(
        default=None,
        description="Rows are visible where their parent's are: column -> parent(column). All of a list must hold.",
        examples=["order_id -> orders(id)", ['(order_id, n) -> "Order"(id, n)']],
    )
    allow: Commands | None = Field(
        default=None,
        description="What conversations may do; select alone where it is left out.",
        examples=[["select", "insert"]],
    )
    columns: RawColumns = Field(
        default_factory=lambda: _NO_COLUMNS,
        description="Columns that are hidden, or that keep no statistics.",
        examples=[{"hide": ["secret"]}],
    )
    existing: Literal["refuse", "keep", "replace"] = Field(
        default="refuse", description="What to do with policies that the table already has.", examples=["keep"]
    )
    prompt: str = Field(
        default="", description="What a language model should know about the table.", examples=["Also called accounts."]
    )
    why: str = Field(
        default="",
        description="Why the table has this access; needed where it is shared.",
        examples=["the same for everyone"],
    )

    @classmethod
    def expand(cls, short: str) -> dict[str, object]:
        """`orders: <filter>` or `api_keys: hidden`."""
        return {"access": "hidden"} if short.strip() == "hidden" else {"filter": short}


class RawView(ShortRaw):
    """What may be seen of one view. The short form is its access alone."""

    access: Literal["invoker", "hidden"] = Field(
        default="invoker",
        description="invoker: readable, and checked to run with the rights of its reader. hidden: nobody reads it.",
        examples=["invoker"],
    )
    columns: RawViewColumns = Field(
        default=RawViewColumns(), description="Columns that are hidden.", examples=[{"hide": ["margin"]}]
    )
    prompt: str = Field(
        default="", description="What a language model should know about the view.", examples=["One row per month."]
    )

    @classmethod
    def expand(cls, short: str) -> dict[str, object]:
        """`monthly_revenue: invoker`."""
        return {"access": short}

    @classmethod
    def short_schema(cls) -> JsonSchemaValue:
        """The two kinds of access."""
        return {"enum": ["invoker", "hidden"]}


class RawFunctions(Raw):
    """Functions and operators of the database's own that statements may use."""

    allow: Annotated[list[str], AfterValidator(_unique), Field(min_length=1)] = Field(
        default=[],
        description="Functions and operators by their qualified names. Everyone may then call all that have the name.",
        examples=[["public.similarity", "public.<->"]],
    )


class RawLimits(Raw):
    """Bounds of what one organisation may use; what is left out is unlimited. Enforced by the runtime, per process."""

    per: str | None = Field(
        default=None, description="The context field whose values are counted apart.", examples=["organisationId"]
    )
    rows: int | None = Field(default=None, ge=1, description="The most rows of one result.", examples=[10000])
    bytes: Size | None = Field(
        default=None, description="The most bytes of one result; 1 MB is 1024 kB.", examples=["20MB"]
    )
    seconds: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="The longest that one statement may run.",
        examples=[30, 0.5],
    )
    concurrent: int | None = Field(default=None, ge=1, description="The most statements at a time.", examples=[4])
    per_minute: int | None = Field(default=None, ge=1, description="The most statements in a minute.", examples=[120])


class RawExclusion(Raw):
    """Findings of `rlsgen lint` that are accepted, with a reason."""

    rule: Reason = Field(description="The rule's id, as findings show it.", examples=["unique-without-tenant"])
    object: str | None = Field(
        default=None,
        description="What the findings are about, as they show it; * stands for any characters; all where left out.",
        examples=["public.templates", "public.archive_*"],
    )
    why: Reason = Field(description="Why they are accepted.", examples=["template ids are no secret"])
    until: Day | None = Field(
        default=None, description="The last day on which they are accepted.", examples=["2027-01-31"]
    )


class RawLint(Raw):
    """What `rlsgen lint` accepts and expects."""

    key_days: int = Field(
        default=180, ge=1, description="The most days that a signing key should be in use.", examples=[90]
    )
    ignore: list[RawExclusion] = Field(
        default=[],
        description="Findings that are accepted, each with a reason.",
        examples=[[{"rule": "unique-without-tenant", "object": "public.templates", "why": "ids are no secret"}]],
    )


class RawSpec(Raw):
    """Who may see which rows of a Postgres database, for rlsgen to enforce."""

    version: Version = Field(description="The version of this format.", examples=[1])
    context: dict[str, RawField] = Field(
        min_length=1,
        description="The facts that a conversation carries about its user, written userContext.<name> in filters.",
        examples=[{"organisationId": {"type": "integer", "minimum": 1}, "userId": "text"}],
    )
    roles: RawRoles = Field(
        description="Who runs untrusted SQL, and whose access stays as it was.",
        examples=[{"conversation": "nl_conversation", "unrestricted": ["shop_owner", "shop_app"]}],
    )
    schemas: Annotated[LiteralNames, Field(min_length=1)] = Field(
        default=["public"],
        description="The schemas whose tables must all be declared; unqualified names are looked up in this order.",
        examples=[["public", "billing"]],
    )
    default_filter: str | None = Field(
        default=None,
        description="The filter of the tables below that have neither a filter nor a path of their own.",
        examples=["organisation_id = userContext.organisationId"],
    )
    undeclared: Literal["error", "hidden"] = Field(
        default="error", description="What a table is that nobody declared: an error, or hidden.", examples=["hidden"]
    )
    force: bool = Field(
        default=False, description="Whether row security also holds for the tables' owner (FORCE).", examples=[True]
    )
    seal: Switch = Field(
        default=True,
        description="Whether the context is sealed against forgery. off: only where all SQL is trusted.",
        examples=["on", "off"],
    )
    tables: dict[str, RawTable] = Field(
        default={},
        description="Tables by name, as SQL reads it: User is user; '\"User\"' keeps its capital; billing.invoices.",
        examples=[{"orders": "organisation_id = userContext.organisationId", "products": {}, "api_keys": "hidden"}],
    )
    views: dict[str, RawView] = Field(
        default={}, description="Views by name, as SQL reads it.", examples=[{"monthly_revenue": "invoker"}]
    )
    functions: RawFunctions = Field(
        default=RawFunctions(),
        description="Functions and operators of your own, or of extensions, that statements may use.",
        examples=[{"allow": ["public.similarity"]}],
    )
    limits: RawLimits = Field(
        default=RawLimits(),
        description="Bounds of what one organisation may use.",
        examples=[{"per": "organisationId", "rows": 10000, "bytes": "20MB", "seconds": 30}],
    )
    lint: RawLint = Field(
        default=RawLint(),
        description="What `rlsgen lint` accepts and expects.",
        examples=[{"key_days": 90, "ignore": [{"rule": "server-version", "why": "the upgrade is planned"}]}],
    )


def json_schema() -> dict[str, object]:
    """The JSON Schema (draft 2020-12) of `policies.yaml`, for editors."""
    schema = _tidy(RawSpec.model_json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "policies.yaml"}


def _tidy(value: Any) -> Any:
    """A schema without pydantic's titles, and without null: optional keys are left out, never null."""
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    if not isinstance(value, dict):
        return value
    noise = {"title"} if isinstance(value.get("title"), str) else set()
    noise |= {"default"} if value.get("default", ...) is None else set()
    cleaned = {key: _tidy(item) for key, item in value.items() if key not in noise}
    choices = cleaned.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        rest = [choice for choice in choices if choice != {"type": "null"}]
        cleaned.pop("anyOf")
        cleaned = {**(rest[0] if len(rest) == 1 else {"anyOf": rest}), **cleaned}
    return cleaned
