"""What verify found as findings, so that CI shows it as it shows lint's: GitHub annotations, SARIF, JUnit."""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.verify.result import AttackResult, TableResult, VerifyResult

LEAK = Rule("verify-leak", Severity.error, "A conversation sees or writes what it must not.", "")
FAILED = Rule("verify-failed", Severity.error, "What a conversation may do does not work.", "")
UNCOVERED = Rule("verify-uncovered", Severity.warning, "Nothing can be said, because nothing could be compared.", "")
ATTACK = Rule("verify-attack", Severity.error, "An attack of the catalogue gets through.", "")
RULES = (LEAK, FAILED, UNCOVERED, ATTACK)
_BY_STATUS = {"leak": LEAK, "failed": FAILED, "uncovered": UNCOVERED}
_ATTACK_REMEDY = "rlsgen lint says what defeats the spec; what is not refused must not be given to untrusted SQL"


def findings(result: VerifyResult) -> tuple[Finding, ...]:
    """Leaks first, then what failed, then what is not covered."""
    found = [each for table in result.tables for each in _of_table(table)]
    found += [each for attack in result.attacks for each in _of_attack(attack)]
    for each in result.uncovered:
        if not each.what.startswith("table "):
            found.append(UNCOVERED.finding(each.what, each.why, "give it more time, or what it needs"))
    order = [LEAK.id, ATTACK.id, FAILED.id, UNCOVERED.id]
    return tuple(sorted(found, key=lambda finding: order.index(finding.rule)))


def cases(result: VerifyResult) -> tuple[tuple[Finding, ...], tuple[Rule, ...]]:
    """For JUnit: a test case for each table and for each attack on each ring, and the findings of those that fail."""
    rules, found = [], []
    for table in result.tables:
        rule = Rule(f"table {table.table}", Severity.error, "Isolated, and covered.", "")
        rules.append(rule)
        found += [_renamed(rule, each) for each in _of_table(table)]
    for attack in result.attacks:
        rule = Rule(f"attack {attack.id} ring {attack.ring}", Severity.error, attack.title, "")
        rules.append(rule)
        found += [_renamed(rule, each) for each in _of_attack(attack)]
    return tuple(found), tuple(rules)


def _of_table(table: TableResult) -> Iterator[Finding]:
    for note in table.notes:
        rule = _BY_STATUS.get(note.status)
        if rule is not None:
            yield rule.finding(table.table, note.message, note.remedy, position=table.position)


def _of_attack(attack: AttackResult) -> Iterator[Finding]:
    if attack.status == "leak":
        where = "raw connection" if attack.ring == 1 else "guard"
        message = f"{attack.title}: {attack.detail} (ring {attack.ring}, the {where})"
        yield ATTACK.finding(f"attack {attack.id}", message, _ATTACK_REMEDY, sql=attack.sql)


def _renamed(rule: Rule, finding: Finding) -> Finding:
    return Finding(
        rule.id, finding.severity, finding.object, finding.message, finding.remedy, finding.sql, finding.position
    )
