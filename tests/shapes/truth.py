"""What each conversation may see of shapes.sql: written by hand as plain joins over all rows, table by table.

Nothing here comes from policies or from rlsgen. Every query runs as the owner, whom row security does not touch, and
gives the keys of the visible rows; the conversation's side is a plain SELECT of those columns.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from hashlib import md5
from typing import LiteralString


def account(number: int) -> str:
    """The organisation's account, as shapes.sql makes it."""
    return str(uuid.UUID(md5(f"account{number}".encode()).hexdigest()))


Context = Mapping[str, object]

# The second has no team, the third no projects and namespaces, the fourth no rows; the last mixes organisations up.
CONTEXTS: tuple[Context, ...] = (
    {"organisationId": 1, "accountId": account(1), "userId": "user_1", "region": "north", "teamId": 3,
     "projectIds": [1, 2, 7], "namespaceIds": [4]},
    {"organisationId": 2, "accountId": account(2), "userId": "user_2", "region": "south", "projectIds": [3]},
    {"organisationId": 3, "accountId": account(3), "userId": "user_3", "region": "we'st", "teamId": 1,
     "projectIds": [], "namespaceIds": []},
    {"organisationId": 4, "accountId": account(4), "userId": "user_99", "region": "north", "teamId": 99,
     "projectIds": [1, 12], "namespaceIds": [6, 2]},
    {"organisationId": 1, "accountId": account(2), "userId": "user_3", "region": "south", "teamId": 5,
     "projectIds": [12], "namespaceIds": [1]},
)  # fmt: skip


def parameters(context: Context) -> dict[str, object]:
    """All fields by name, absent ones as None, for the queries below."""
    return {"teamId": None, "namespaceIds": None, **context}


_ORG: LiteralString = "organisation_id = %(organisationId)s::integer"
_ORDERS: LiteralString = "SELECT o.id FROM p_orders o WHERE o.organisation_id = %(organisationId)s::integer"
_ITEMS: LiteralString = (
    "SELECT i.id FROM p_items i JOIN p_orders o ON o.id = i.order_id"
    " WHERE o.organisation_id = %(organisationId)s::integer"
)
_SELF: LiteralString = (
    "WITH RECURSIVE seen AS (SELECT id FROM p_self WHERE parent_id IS NULL"
    " AND organisation_id = %(organisationId)s::integer"
    " UNION SELECT c.id FROM p_self c JOIN seen s ON c.parent_id = s.id"
    " WHERE c.organisation_id = %(organisationId)s::integer) "
)
_FOLDERS: LiteralString = _SELF.replace("p_self", "w_folders")
_TEAMS: LiteralString = "SELECT id FROM teams WHERE organisation_id = %(organisationId)s::integer"
_ODD_LINE: LiteralString = '"Odd. schema"."new\nline; DROP TABLE organisations; --"'
_OWN_OR_SHARED: LiteralString = "organisation_id IS NULL OR organisation_id = %(organisationId)s::integer"

# table: (columns that tell its rows apart, what the owner computes)
TRUTH: Mapping[LiteralString, tuple[LiteralString, LiteralString]] = {
    "organisations": (
        "id",
        "SELECT id FROM organisations WHERE id = %(organisationId)s::integer AND account_id = %(accountId)s::uuid",
    ),
    "k_integer": ("id", f"SELECT id FROM k_integer WHERE {_ORG}"),
    "k_smallint": ("id", f"SELECT id FROM k_smallint WHERE {_ORG}"),
    "k_bigint": ("id", f"SELECT id FROM k_bigint WHERE {_ORG}"),
    "k_numeric": ("id", f"SELECT id FROM k_numeric WHERE {_ORG}"),
    "k_uuid": ("id", "SELECT id FROM k_uuid WHERE account_id = %(accountId)s::uuid"),
    "k_text": ("id", "SELECT id FROM k_text WHERE user_id = %(userId)s"),
    "k_varchar": ("id", "SELECT id FROM k_varchar WHERE user_id = %(userId)s"),
    "k_char": ("id", "SELECT id FROM k_char WHERE trim(user_id) = %(userId)s"),
    "k_enum": ("id", "SELECT id FROM k_enum WHERE region::text = %(region)s"),
    "k_domain": ("id", f"SELECT id FROM k_domain WHERE {_ORG}"),
    "k_domain_text": ("id", "SELECT id FROM k_domain_text WHERE user_id = %(userId)s"),
    "k_uuid_as_text": ("id", "SELECT id FROM k_uuid_as_text WHERE account_id = %(accountId)s"),
    "k_generated": ("id", "SELECT id FROM k_generated WHERE document ->> 'organisation' = %(organisationId)s::text"),
    "k_array": (
        "id",
        "SELECT DISTINCT a.id FROM k_array a, unnest(organisation_ids) o WHERE o = %(organisationId)s::integer",
    ),
    "k_array_bigint": (
        "id",
        "SELECT DISTINCT a.id FROM k_array_bigint a, unnest(organisation_ids) o WHERE o = %(organisationId)s::bigint",
    ),
    "k_array_varchar": ("id", "SELECT DISTINCT a.id FROM k_array_varchar a, unnest(user_ids) u WHERE u = %(userId)s"),
    "k_overlap": (
        "id",
        "SELECT DISTINCT a.id FROM k_overlap a, unnest(project_ids) p JOIN unnest(%(projectIds)s::bigint[]) c ON c = p",
    ),
    "k_camel": ("id", 'SELECT id FROM k_camel WHERE "tenantId" = %(organisationId)s::integer'),
    "k_snake": ("id", "SELECT id FROM k_snake WHERE tenant_id = %(organisationId)s::integer"),
    "teams": ("id", _TEAMS),
    "k_three": (
        "id",
        "SELECT k.id FROM k_three k JOIN teams t ON t.id = k.team_id"
        " WHERE coalesce(k.organisation_id, t.organisation_id)"
        " = %(organisationId)s::integer AND (t.id = %(teamId)s::integer OR k.user_id = %(userId)s)",
    ),
    "k_either": (
        "id",
        "SELECT k.id FROM k_either k JOIN unnest(%(projectIds)s::bigint[]) p ON p = k.project_id"
        " UNION SELECT k.id FROM k_either k JOIN unnest(%(namespaceIds)s::integer[]) n ON n = k.namespace_id",
    ),
    "s_null": ("id", f"SELECT id FROM s_null WHERE {_OWN_OR_SHARED}"),
    "s_null_child": (
        "id",
        f"SELECT c.id FROM s_null_child c JOIN s_null p ON p.id = c.parent_id WHERE {_OWN_OR_SHARED}",
    ),
    "s_null_grandchild": (
        "id",
        "SELECT g.id FROM s_null_grandchild g JOIN s_null_child c ON c.id = g.child_id"
        " JOIN s_null p ON p.id = c.parent_id"
        f" WHERE {_OWN_OR_SHARED}",
    ),
    "s_sentinel": ("id", f"SELECT id FROM s_sentinel WHERE organisation_id = 0 OR {_ORG}"),
    "s_sentinel_child": (
        "id",
        "SELECT c.id FROM s_sentinel_child c JOIN s_sentinel p ON p.id = c.parent_id"
        f" WHERE organisation_id = 0 OR {_ORG}",
    ),
    '"Order"': ('"Id"', 'SELECT "Id" FROM "Order" WHERE "organisation Id" = %(organisationId)s::integer'),
    '"select"': ('"from"', 'SELECT "from" FROM "select" WHERE "user" = %(organisationId)s::integer'),
    '"qu""ote"': ('"i\'d"', 'SELECT "i\'d" FROM "qu""ote" WHERE "or""g" = %(organisationId)s::integer'),
    '"dot.ted"': ('"a.b"', 'SELECT "a.b" FROM "dot.ted" WHERE "c.d" = %(organisationId)s::integer'),
    '"Odd. schema"."sp ace"': (
        '" id"',
        'SELECT " id" FROM "Odd. schema"."sp ace" WHERE "org id " = %(organisationId)s::integer',
    ),
    '"Odd. schema"."ünï☃"': (
        '"größe"',
        'SELECT "größe" FROM "Odd. schema"."ünï☃" WHERE "组织" = %(organisationId)s::integer',
    ),
    _ODD_LINE: ('"i\nd"', f'SELECT "i\nd" FROM {_ODD_LINE} WHERE "o\nrg" = %(organisationId)s::integer'),
    '"Odd. schema"."Line.Item"': (
        '"n-1"',
        'SELECT l."n-1" FROM "Odd. schema"."Line.Item" l JOIN "Order" o ON o."Id" = l."order.id"'
        ' WHERE o."organisation Id" = %(organisationId)s::integer',
    ),
    "billing.invoices": ("id", f"SELECT id FROM billing.invoices WHERE {_ORG}"),
    "billing.teams": ("id", f"SELECT id FROM billing.teams WHERE {_ORG}"),
    "p_orders": ("id", _ORDERS),
    "p_items": ("id", _ITEMS),
    "p_notes": ("id", f"SELECT n.id FROM p_notes n JOIN ({_ITEMS}) i ON i.id = n.item_id"),
    "p_marks": (
        "id",
        f"SELECT m.id FROM p_marks m JOIN p_notes n ON n.id = m.note_id JOIN ({_ITEMS}) i ON i.id = n.item_id",
    ),
    "p_pings": (
        "id",
        "SELECT p.id FROM p_pings p JOIN p_marks m ON m.id = p.mark_id JOIN p_notes n ON n.id = m.note_id"
        f" JOIN ({_ITEMS}) i ON i.id = n.item_id",
    ),
    "p_readings": ("id, at", f"SELECT id, at FROM p_readings WHERE {_ORG}"),
    "p_values": (
        "id",
        f"SELECT v.id FROM p_values v JOIN p_readings r ON r.id = v.reading_id AND r.at = v.reading_at WHERE {_ORG}",
    ),
    "p_envelopes": ("id", f"SELECT id FROM p_envelopes WHERE {_ORG}"),
    "p_document_meta": (
        "id",
        f"SELECT DISTINCT d.id FROM p_document_meta d JOIN p_envelopes e ON e.document_meta_id = d.id WHERE {_ORG}",
    ),
    "p_tags": ("id", f"SELECT id FROM p_tags WHERE {_ORG}"),
    "p_order_tags": (
        "order_id, tag_id",
        "SELECT j.order_id, j.tag_id FROM p_order_tags j JOIN p_orders o ON o.id = j.order_id"
        " JOIN p_tags t ON t.id = j.tag_id"
        " WHERE o.organisation_id = %(organisationId)s::integer AND t.organisation_id = %(organisationId)s::integer",
    ),
    "p_order_tags_filtered": (
        "id",
        f"SELECT f.id FROM p_order_tags_filtered f JOIN ({_ORDERS}) o ON o.id = f.order_id"
        " WHERE f.user_id = %(userId)s",
    ),
    "p_text_ids": ("id", f"SELECT id FROM p_text_ids WHERE {_ORG}"),
    "p_bigint_to_text": (
        "id",
        f"SELECT c.id FROM p_bigint_to_text c JOIN p_text_ids p ON p.id = c.parent_id::text WHERE {_ORG}",
    ),
    "p_bigint_ids": ("id", f"SELECT id FROM p_bigint_ids WHERE {_ORG}"),
    "p_integer_to_bigint": (
        "id",
        f"SELECT c.id FROM p_integer_to_bigint c JOIN p_bigint_ids p ON p.id = c.parent_id WHERE {_ORG}",
    ),
    "p_text_to_bigint": (
        "id",
        f"SELECT c.id FROM p_text_to_bigint c JOIN p_bigint_ids p ON p.id::text = c.parent_id WHERE {_ORG}",
    ),
    "p_uuid_ids": ("id", f"SELECT id FROM p_uuid_ids WHERE {_ORG}"),
    "p_text_to_uuid": (
        "id",
        f"SELECT c.id FROM p_text_to_uuid c JOIN p_uuid_ids p ON p.id::text = c.parent_id WHERE {_ORG}",
    ),
    "p_self": ("id", f"{_SELF} SELECT id FROM seen"),
    "p_self_child": ("id", f"{_SELF} SELECT c.id FROM p_self_child c JOIN seen s ON s.id = c.self_id"),
    "h_uses": ("id", f"SELECT u.id FROM h_uses u JOIN h_secrets s ON s.id = u.secret_id WHERE {_OWN_OR_SHARED}"),
    "h_box_members": ("id", f"SELECT id FROM h_box_members WHERE {_ORG}"),
    "h_books": (
        "id",
        "SELECT DISTINCT b.id FROM h_books b JOIN h_shelves s ON s.id = b.shelf_id JOIN h_boxes x ON x.id = s.box_id"
        f" JOIN h_box_members m ON m.box_id = x.id WHERE {_ORG}",
    ),
    "h_codes": ("label", f"SELECT label FROM h_codes WHERE {_ORG}"),
    "h_code_uses": ("id", f"SELECT u.id FROM h_code_uses u JOIN h_codes c ON c.code = u.code WHERE {_ORG}"),
    "f_memberships": ("id", f"SELECT id FROM f_memberships WHERE {_ORG}"),
    "f_users": ("id", f"SELECT DISTINCT u.id FROM f_users u JOIN f_memberships m ON m.user_id = u.id WHERE {_ORG}"),
    "f_attachments": (
        "id",
        f"SELECT a.id FROM f_attachments a JOIN p_orders o ON o.id = a.item_id AND a.item_type = 'Order' WHERE {_ORG}"
        " UNION SELECT a.id FROM f_attachments a"
        " JOIN billing.invoices i ON i.id = a.item_id AND a.item_type = 'Invoice'"
        f" WHERE {_ORG}",
    ),
    "f_attachment_reads": (
        "id",
        "SELECT r.id FROM f_attachment_reads r JOIN f_attachments a ON a.id = r.attachment_id"
        f" JOIN p_orders o ON o.id = a.item_id AND a.item_type = 'Order' WHERE {_ORG}"
        " UNION SELECT r.id FROM f_attachment_reads r JOIN f_attachments a ON a.id = r.attachment_id"
        f" JOIN billing.invoices i ON i.id = a.item_id AND a.item_type = 'Invoice' WHERE {_ORG}",
    ),
    "f_countries": ("code", "SELECT code FROM f_countries"),
    "w_notes": ("id", "SELECT id FROM w_notes WHERE user_id = %(userId)s"),
    "w_templates": ("id", f"SELECT id FROM w_templates WHERE {_OWN_OR_SHARED}"),
    "w_items": ("id", f"SELECT w.id FROM w_items w JOIN ({_ORDERS}) o ON o.id = w.order_id"),
    "w_folders": ("id", f"{_FOLDERS} SELECT id FROM seen"),
    "r_events": ("id", f"SELECT id FROM r_events WHERE {_ORG}"),
    "r_event_tags": (
        "id",
        f"SELECT t.id FROM r_event_tags t JOIN r_events e ON e.id = t.event_id AND e.at = t.event_at WHERE {_ORG}",
    ),
    "r_animals": ("id", f"SELECT id FROM r_animals WHERE {_ORG}"),
    "r_animal_visits": (
        "id",
        "SELECT v.id FROM r_animal_visits v WHERE EXISTS"
        " (SELECT FROM r_animals a WHERE a.id = v.animal_id AND a.organisation_id = %(organisationId)s::integer)",
    ),
    "m_kinds": ("kind", "SELECT DISTINCT kind FROM r_events"),
    "x_kept": ("id", f"SELECT id FROM x_kept WHERE NOT deleted AND {_ORG}"),
    "x_replaced": ("id", f"SELECT id FROM x_replaced WHERE {_ORG}"),
    "x_dormant": ("id", f"SELECT id FROM x_dormant WHERE {_ORG}"),
    "c_people": ("id", f"SELECT id FROM c_people WHERE {_ORG}"),
    "v_orders": ("id", _ORDERS),
    "v_totals": (
        "organisation_id, orders, quantity",
        "SELECT o.organisation_id, count(*), sum(i.quantity) FROM p_orders o JOIN p_items i ON i.order_id = o.id"
        " WHERE o.organisation_id = %(organisationId)s::integer GROUP BY 1",
    ),
    "v_already": ("id", f"SELECT id FROM p_tags WHERE {_ORG}"),
    '"v Odd.view"': (
        '"I""d"',
        'SELECT " id" FROM "Odd. schema"."sp ace" WHERE "org id " = %(organisationId)s::integer',
    ),
}

# Relations that a conversation may not read at all, whatever its context.
REFUSED: tuple[LiteralString, ...] = (
    "h_secrets", "h_boxes", "h_shelves", "m_counts", "x_migrations", "x_queue", "v_everything", "v_hidden",
    "r_events_2025", "r_events_2026", "r_events_2026_1", "r_events_2026_rest", "r_dogs", "r_puppies",
    "rlsgen.object", "rlsgen.provision", "rlsgen_private.signing_key", "rlsgen_private.seal_key",
)  # fmt: skip
# Columns hidden within readable tables.
REFUSED_COLUMNS: tuple[tuple[LiteralString, LiteralString], ...] = (
    ("f_users", "password_hash"), ("c_people", "password_hash"), ("h_codes", "code"),
)  # fmt: skip
