"""An exclusion in the spec names a rule that does not exist.

It excludes nothing. Perhaps the rule's name is spelled otherwise.
"""

from __future__ import annotations

from rlsgen.proof.finding import Rule, Severity

RULE = Rule.described("exclusion-unknown", Severity.error, __doc__)
