"""The pages for people but the sign-in and the inbox: three portals of Microsoft's, and the simulator's own.

Pages only show the tenant and call its operations; `navigation` has the menus.
"""

from starlette.routing import BaseRoute

from postroom.simulator import pages
from postroom.simulator.admin_apps import app_routes
from postroom.simulator.admin_entra import entra_routes
from postroom.simulator.admin_exchange import exchange_routes
from postroom.simulator.admin_exchange_apps import exchange_app_routes
from postroom.simulator.admin_groups import group_routes
from postroom.simulator.admin_people import people_routes
from postroom.simulator.admin_scenarios import scenario_routes
from postroom.simulator.admin_simulator import simulator_routes
from postroom.simulator.scenarios import Scenarios
from postroom.simulator.tenant import Tenant


def routes(tenant: Tenant, scenarios: Scenarios | None = None) -> list[BaseRoute]:
    """Every page of the portals and of the simulator, and the style sheet."""
    return [
        *scenario_routes(tenant, scenarios or Scenarios(tenant)),
        *people_routes(tenant),
        *group_routes(tenant),
        *app_routes(tenant),
        *entra_routes(tenant),
        *exchange_routes(tenant),
        *exchange_app_routes(tenant),
        *simulator_routes(tenant),
        *pages.static_routes(),
    ]
