"""The rules of lint, one in each module, in the order in which findings of one severity are shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from rlsgen.proof.finding import Finding, Rule
from rlsgen.proof.rules import (
    context_function,
    create_privilege,
    dangerous_extension,
    database_settings,
    default_privileges,
    definer_function,
    definer_hook,
    definer_view,
    drift,
    exclusion_expired,
    exclusion_unknown,
    exclusion_unused,
    filter_function,
    filter_without_index,
    foreign_key_without_tenant,
    foreign_object,
    foreign_owner,
    foreign_policy,
    foreign_table,
    foundation,
    grant_beyond_spec,
    grant_missing,
    grant_option,
    guessable_tenant,
    key_age,
    key_copied,
    key_missing,
    keys_published,
    large_object,
    leakproof_function,
    left_behind,
    materialized_view,
    not_provisioned,
    nullable_tenant_key,
    partition_reachable,
    planner_statistics,
    policy_altered,
    policy_missing,
    private_schema,
    private_statistics,
    public_privilege,
    role_attribute,
    role_membership,
    role_owns,
    role_settings,
    row_security_not_forced,
    row_security_off,
    seal_off,
    search_path,
    secret_column,
    sequence_privilege,
    server_version,
    shared_with_child,
    shared_with_tenant_column,
    spec_misfit,
    spec_not_applied,
    system_privilege,
    undeclared_table,
    unique_without_tenant,
    unsafe_privilege,
    unseen,
    view_lost_invoker,
)
from rlsgen.proof.subject import Subject


class Check(Protocol):
    """A module of a rule."""

    RULE: Rule

    def find(self, subject: Subject) -> Iterator[Finding]:
        """Everything that is wrong in this way."""
        ...


ALWAYS: tuple[Check, ...] = (
    not_provisioned,
    spec_misfit,
    undeclared_table,
    role_attribute,
    role_membership,
    role_owns,
    role_settings,
    database_settings,
    server_version,
    seal_off,
    guessable_tenant,
    definer_function,
    search_path,
    leakproof_function,
    definer_hook,
    create_privilege,
    default_privileges,
    large_object,
    system_privilege,
    dangerous_extension,
    nullable_tenant_key,
    unique_without_tenant,
    foreign_key_without_tenant,
    shared_with_child,
    shared_with_tenant_column,
    secret_column,
    filter_without_index,
)
"""Looked for in every database."""

PROVISIONED: tuple[Check, ...] = (
    spec_not_applied,
    row_security_off,
    row_security_not_forced,
    policy_missing,
    policy_altered,
    filter_function,
    foreign_policy,
    context_function,
    foundation,
    foreign_owner,
    foreign_object,
    private_schema,
    key_copied,
    key_missing,
    keys_published,
    key_age,
    grant_beyond_spec,
    unsafe_privilege,
    grant_option,
    public_privilege,
    partition_reachable,
    view_lost_invoker,
    definer_view,
    materialized_view,
    foreign_table,
    sequence_privilege,
    grant_missing,
    private_statistics,
    planner_statistics,
    left_behind,
    unseen,
)
"""Looked for where rlsgen has been: before that, they would say one thing over and over."""

RULES: tuple[Rule, ...] = (
    *(each.RULE for each in (*ALWAYS, *PROVISIONED)),
    drift.RULE,
    exclusion_unknown.RULE,
    exclusion_expired.RULE,
    exclusion_unused.RULE,
)
"""All of them; the last ones look at the others' findings."""
