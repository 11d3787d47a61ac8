"""A dump of the whole database by the application: it works before, and afterwards the keys are not for it to read."""

from __future__ import annotations

from rlsgen.catalog.connect import open_connection
from rlsgen.demo.shop import APPLICATION, OWNER
from rlsgen.provision.apply import make_plan
from rlsgen.provision.plan import Hazard
from tests.apply.support import company, dump, provision
from tests.support.postgres import Database


def keys_named(site: Database) -> list[str]:
    with open_connection(site.dsn(OWNER)) as connection:
        plan = make_plan(connection, company())
    return [warned.message for warned in plan.hazards if warned.hazard is Hazard.DUMP and "keys" in warned.message]


def test_who_dumps_the_whole_database_is_named_and_told_how(site: Database) -> None:
    assert dump(site, user=APPLICATION).returncode == 0
    assert keys_named(site) == ["role shop_app can dump the whole database today, and may not read rlsgen's keys"]
    provision(site)
    refused = dump(site, user=APPLICATION)
    assert refused.returncode != 0
    assert "rlsgen" in refused.stderr
    without = dump(site, "--exclude-schema=rlsgen", "--exclude-schema=rlsgen_private", user=APPLICATION)
    assert without.returncode == 0, without.stderr
    assert dump(site).returncode == 0  # the owner's goes on as before
    assert keys_named(site) == []  # said when the keys come, not for ever


def test_who_lacks_one_table_could_not_dump_before(site: Database) -> None:
    site.connect().execute("REVOKE SELECT ON orders FROM shop_app")
    assert dump(site, user=APPLICATION).returncode != 0
    assert keys_named(site) == []
