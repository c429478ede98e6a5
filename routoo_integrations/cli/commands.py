"""Every command: its name, the function that runs it, and the line it has in the list of commands.

A new command is one line here and one function in a module of this package. The line is the first paragraph of the
function's docstring: the list of commands is printed without importing the function.
"""

COMMANDS = {
    "demo": (
        "demo:demo_command",
        "Route LangChain and LlamaIndex calls under a budget that runs out.",
    ),
    "init": (
        "init:init_command",
        "Write routoo.toml and experts.toml: a small pool of today's models for the providers you have keys of.",
    ),
    "route": (
        "route:route_command",
        "Explain which expert would answer TEXT, and why. No expert is called and nothing is charged.",
    ),
    "serve": (
        "serve:serve_command",
        "Serve the router over HTTP, in OpenAI's and Anthropic's protocols. A client only needs the address.",
    ),
    "experts": (
        "experts:experts_command",
        "Show the pool: prices, windows, capabilities and keys; with --check, whether each expert answers.",
    ),
    "train": (
        "train:train_command",
        "Train a router on observed outcomes and measure it on held-out prompts, beside simple baselines.",
    ),
    "add-expert": (
        "add_expert:add_expert_command",
        "Add one expert to a router from a few labels; predictions for the others do not change.",
    ),
    "suggest-prompts": (
        "suggest_prompts:suggest_prompts_command",
        "Choose prompts to label before adding an expert: a diverse sample by the router's encoder.",
    ),
    "universe": (
        "universe:universe_command",
        "Choose a small, complementary set of experts greedily, with a bound on the distance from the optimum.",
    ),
    "predict": (
        "predict:predict_command",
        "Predict how well every expert a router knows would answer each prompt: prompt_id, model, score (0–1).",
    ),
    "assign": (
        "assign:assign_command",
        "Assign every prompt to an expert within a budget for all of them, with a certificate of how good that is.",
    ),
    "calibrate": (
        "calibrate:calibrate_command",
        "Find the λ, α or floor that meets a target on typical prompts, and say what to expect of it.",
    ),
    "evaluate": (
        "evaluate:evaluate_command",
        "Measure routers on the dev prompts of a table, beside simple ones that learn from its train prompts.",
    ),
    "replay": (
        "replay:replay_command",
        "Simulate a budget: replay prompts through the router and a ledger, with observed outcomes as answers.",
    ),
    "feedback": (
        "feedback:feedback_command",
        "Summarise real calls by week: spend, savings, feedback, and drift of the predictions from it.",
    ),
    "score": (
        "score:score_command",
        "Run experts on prompts and grade the answers: prompt_id, model, score, tokens, cost_usd, latency_s.",
    ),
}
"""``routoo …``."""

BUDGET_COMMANDS = {
    "show": (
        "budget:show_command",
        "Show every account as a tree: its limit, the amounts spent, held and left, when it resets, and a forecast.",
    ),
    "watch": (
        "budget:watch_command",
        "Show the accounts as 'budget show' does, again and again until Ctrl-C.",
    ),
    "history": (
        "budget:history_command",
        "Show the spending in every period, the oldest first. A rolling period is split into sixtieths, for five "
        "weeks.",
    ),
    "set": (
        "budget:set_command",
        "Change the limit of an account; it binds running processes within a second.",
    ),
    "export": (
        "budget_export:export_command",
        "Write every account and period as a table, amounts in USD: for a spreadsheet or an invoice.",
    ),
}
"""``routoo budget …``."""

DATA_COMMANDS = {
    "collect": (
        "data_collect:collect_command",
        "Collect questions into one table: prompt_id, prompt, benchmark, domain, choices, answer, licence.",
    ),
    "filter": (
        "data_filter:filter_command",
        "Keep the prompts that a reference expert fails, and a random sample of the others.",
    ),
    "decontaminate": (
        "data_decontaminate:decontaminate_command",
        "Remove prompts that are, contain or resemble one to evaluate on, whatever the case, punctuation and numbers.",
    ),
    "split": (
        "data_split:split_command",
        "Write train or dev into the column split, by a hash of the question: the same one is always on the same side.",
    ),
    "sample": (
        "data_split:sample_command",
        "Draw prompts at random, such as those to choose a universe on.",
    ),
    "from-logs": (
        "data_from_logs:from_logs_command",
        "Turn logs with feedback into prompts and outcomes, as 'routoo train' reads them; the shapes are in "
        "docs/data.md.",
    ),
    "from-battles": (
        "data_from_battles:from_battles_command",
        "Turn battles into prompts and outcomes, as 'routoo train' reads them: 1 for the winner, 0.5 each for a tie.",
    ),
    "from-mt-bench": (
        "data_from_mt_bench:from_mt_bench_command",
        "Turn MT-Bench's questions and grades into prompts and outcomes, to evaluate a router on them.",
    ),
    "synthesise": (
        "data_write:synthesise_command",
        "Have an expert write more prompts like yours: multiple choice where they have choices, else prompts as they "
        "are.",
    ),
    "paraphrase": (
        "data_write:paraphrase_command",
        "Have an expert paraphrase prompts, for 'routoo evaluate --stress 60 --paraphrases': prompt_id, prompt.",
    ),
}
"""``routoo data …``."""

CATALOGUE_COMMANDS = {
    "show": (
        "catalogue:show_command",
        "Show a model: price, window, ability by skill with its uncertainty, and the newest scores with their sources.",
    ),
    "benchmarks": (
        "catalogue:benchmarks_command",
        "List the benchmarks whose scores an expert's table may give, as benchmark/category.",
    ),
    "update": (
        "catalogue:update_command",
        "Add scores to the catalogue, or replace those of the same model and benchmark, and fit all abilities again.",
    ),
}
"""``routoo catalogue …``."""

PLANS_COMMANDS = {
    "fit": (
        "plans:fit_command",
        "Learn what the plans of routoo.toml are worth from stored answers; no expert is called.",
    ),
    "fit-cascade": (
        "plans:fit_cascade_command",
        "Learn from stored answers whom a cascade asks, and which answers it accepts; no expert is called.",
    ),
}
"""``routoo plans …``."""

KEY_COMMANDS = {
    "create": (
        "key:create_command",
        "Make a key for an account and print it, once: only its SHA-256 is kept, beside the ledger.",
    ),
    "list": (
        "key:list_command",
        "List the keys: accounts, limits, what they may do, and whether they are in use; never the keys themselves.",
    ),
    "rotate": (
        "key:rotate_command",
        "Create a new key for an account and print it; the old one stops working, at once or after --grace.",
    ),
    "revoke": (
        "key:revoke_command",
        "Revoke an account's key; running gateways refuse it at once.",
    ),
    "expire": (
        "key:expire_command",
        "Set when an account's key ends.",
    ),
}
"""``routoo key …``."""

CACHE_COMMANDS = {
    "show": (
        "cache:show_command",
        "Show how many answers are stored for each account, how often they were given again, and what that saved.",
    ),
    "clear": (
        "cache:clear_command",
        "Forget the stored answers of an account and of those within it, or all.",
    ),
    "calibrate": (
        "cache:calibrate_command",
        "Choose the similarity from which questions count as the same, for a precision, from labelled pairs.",
    ),
}
"""``routoo cache …``."""
