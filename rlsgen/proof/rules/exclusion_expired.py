"""An exclusion in the spec has expired.

What it excluded is a finding again, and this is one so that somebody decides anew: mend it, or set a later day.
"""

from __future__ import annotations

from rlsgen.proof.finding import Rule, Severity

RULE = Rule.described("exclusion-expired", Severity.warning, __doc__)
