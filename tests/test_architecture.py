"""The house: files import only from files before them, and the core is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = """
routoo_core
    errors extras redaction files lifetimes threads progress money text tables plotting settings tokens
    json_schema expected_form arguments question messages request answer stated_answers
routoo_core.sandbox
    namespaces graded_process processes plain_tests code_tests probes
routoo_core
    comparison latency usage prices model_names hosts list_prices endpoint limits
routoo_core.catalogue
    names skills entries ability_fit store providers building
routoo_core
    described_ability expert_defaults expert_variants experts servers price_list
    error_evidence failures
    parameters hidden_reasoning answering_models expert_table prompts outcomes bradley_terry battles embedded
routoo_core.predictor
    base checkpoint_folder ngrams prompt_reader vector_reader general batching weights adapter ngram_encoder endpoint_encoder encoder general_checkpoint calibration answer_scorer lengths heads checkpoint_config quality_model
    head_ensemble neighbours pairwise similarity_ranking matrix_factorisation pair_classifier score_tokens distilled random_router performance reference checkpoint
routoo_core.plans
    plan consensus cascade mixture tables
routoo_core
    abilities pool_proposal loading
routoo_core.budget
    clock period account ledger outage journal recollection settlements sqlite_waits sqlite_file sqlite_holds sqlite redis redis_client opening tables declared outlook overview alerts cooldowns
routoo_core.answer_cache
    wording similarity calibration rule answers nearest store redis_store opening
routoo_core
    candidates record stickiness selector telemetry
routoo_core.answer_cache
    query
routoo_core.budget
    pacing goals
routoo_core.calling
    checks follow_up outcomes history call booking attempt plan_run trials rewriting queue holds all_failed course attempts
routoo_core
    win_rate guarded policies descriptions options limit_changes preview router
routoo_core.calling
    readings passage together recall driver
routoo_core
    config local_endpoint
routoo_core.testing
    fakes bills replies text_completions chat_answers embeddings wire endpoint
routoo_core.asking
    calls answers retries likelihoods endpoint local_model clients
    direct rate_limit budget_queue metered_call asker
routoo_core.scoring
    rows grader judge custom graders task estimate run harness
routoo_core
    checks
routoo_core.data
    rows manifest sources collection splitting resemblance decontamination writing seeds synthesise
    paraphrase arena tiers mt_bench closeness
routoo_core.measures
    curve call_costs simple_routers figures metrics subjects plan_replay
routoo_core.universe
    observed selection chance routed plots construction
routoo_core.assignment
    predictions on_ray quality_table live_costs solver plan target
routoo_core.training
    reader_targets kind_regression vector_reader prompt_reader general_corpus general_answers general encoded early_stopping calibration lengths neighbours labels head_ensemble pairwise similarity_ranking matrix_factorisation random_router lora encoder_tuning classifiers distillation fine_tuning algorithms settings
    processes vectors simple_routers metrics model_card run new_expert suggestion expert_run general_labels grades plan_fit scorer_fit ladder_search cascade_fit
routoo_core.evaluation
    plots report training_overlap tables predictions rewording paraphrases stress evaluation
    drawings summaries sentences page
routoo_core.simulation
    traffic replay plots
routoo_core.monitoring
    ratings logged_calls tables routed_calls expert_costs savings goals feedback plots
routoo_core
    __main__
routoo_integrations
    call_settings call_arguments building connections
routoo_integrations.langchain
    providers azure protocols connections retries runnables added_tokens profiles keywords errors messages reading cached_answers tools clients calls structured configured chat_model middleware prompt_caching
routoo_integrations.llama_index
    tools messages refusals reading cached_answers streams connections clients events calls structured llm selector namespace
routoo_integrations.gateway
    events authors problems connections openai_replies anthropic_replies cached_answers calls steering database keys key_file key_server access activity sessions translation anthropic_form chat completions messages response_form response_events stored_responses response_file response_server responses response_archive settings stores decision_headers embeddings decisions openapi metrics call_notes requests dashboard page streaming caller_calls model_list app exporters predictor_elsewhere machine served server workers ray_app
routoo_integrations
    expert_check
routoo_integrations.demo
    prompts embedding transcript langchain_calls llama_index_calls report run
routoo_integrations.cli
    commands lazy terminal versions options ray_options outputs configuration
    demo init catalogue route serve key cache experts train add_expert plans suggest_prompts universe predict assign calibrate evaluate replay
    feedback grader_options harness_options score budget budget_export
    data_options data_collect data_filter data_decontaminate data_split data_from_logs data_from_battles data_from_mt_bench data_write
"""
"""Every file, in the order of the path: a file may import only from those before it."""
PACKAGES = ("routoo_core", "routoo_integrations")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
HEAVY = (
    "torch",
    "transformers",
    "langchain_core",
    "llama_index",
    "openai",
    "peft",
    "pyarrow",
    "matplotlib",
)


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def read_order():
    order = []
    folder = ""
    for line in ORDER.strip().splitlines():
        if not line.startswith(" "):
            folder = line
            continue
        order += [f"{folder}.{name}" for name in line.split()]
    return order


POSITION = {name: position for position, name in enumerate(read_order())}
MODULES = {module_name(path) for path in FILES if path.stem != "__init__"}


def imported_modules(path):
    """The project's modules that a file imports at run time, wherever in the file."""
    tree = ast.parse(path.read_text())
    for_types = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            for_types.update(ast.walk(node))
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in names)


def test_every_file_has_its_place_in_the_order():
    assert sorted(POSITION) == sorted(MODULES)


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.stem != "__init__"], ids=module_name
)
def test_a_file_imports_only_from_files_before_it(path):
    own = module_name(path)
    for imported in imported_modules(path):
        if imported in MODULES:
            assert POSITION[imported] < POSITION[own], (
                f"{own} imports {imported}, which comes later"
            )


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.stem == "__init__"], ids=module_name
)
def test_a_package_hands_on_only_its_own_names(path):
    package = module_name(path).removesuffix(".__init__")
    for imported in imported_modules(path):
        if imported in MODULES:
            assert imported.startswith(package) or POSITION[imported] < min(
                place for name, place in POSITION.items() if name.startswith(f"{package}.")
            )


def test_importing_the_core_loads_neither_torch_nor_a_framework():
    code = (
        "import sys, routoo_core; from routoo_core import Budget, Expert, Pool, RoutedRequest, Router, Usage\n"
        f"print(sorted(set({HEAVY}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command_line_starts_without_torch():
    code = "import sys, routoo_integrations.cli\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["data", "--help"]])
def test_help_and_version_load_nothing_heavy(arguments):
    code = (
        f"import sys; sys.argv = ['routoo', *{arguments}]\n"
        "from routoo_integrations.cli import main\n"
        "try: main()\n"
        f"except SystemExit: print('loaded', sorted(set({HEAVY}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded []"


def test_the_library_knows_no_terminal():
    for path in FILES:
        if path.is_relative_to(ROOT / "routoo_core"):
            roots = {name.split(".")[0] for name in third_party_imports(path)}
            assert not roots & {"rich", "typer", "click"}, path


def test_nothing_pickles():
    for path in FILES:
        assert "pickle" not in third_party_imports(path)
        assert "torch.load" not in path.read_text()


def third_party_imports(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    return names
