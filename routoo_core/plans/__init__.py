"""Plans: several experts in one call, ranked beside the experts as one more candidate."""

from routoo_core.plans.cascade import Cascade as Cascade
from routoo_core.plans.consensus import Consensus as Consensus
from routoo_core.plans.mixture import Mixture as Mixture
from routoo_core.plans.plan import Appraisal as Appraisal
from routoo_core.plans.plan import Ask as Ask
from routoo_core.plans.plan import Contribution as Contribution
from routoo_core.plans.plan import GiveUp as GiveUp
from routoo_core.plans.plan import Plan as Plan
from routoo_core.plans.plan import Role as Role
from routoo_core.plans.plan import Step as Step
from routoo_core.plans.plan import Take as Take
from routoo_core.plans.plan import Verdict as Verdict
from routoo_core.plans.tables import PLANS as PLANS
from routoo_core.plans.tables import describe_plan as describe_plan
from routoo_core.plans.tables import read_plans as read_plans
