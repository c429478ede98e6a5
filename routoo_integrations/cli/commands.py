"""Every command: its name, the function that runs it, and the line it has in the list of commands.

A new command is one line here and one function in a module of this package. The line is the first paragraph of the
function's docstring: the list of commands is printed without importing the function.
"""

COMMANDS = {
    "demo": (
        "demo:demo_command",
        "Run the main job here and now: LangChain and LlamaIndex calls, routed under a budget that runs out.",
    ),
    "init": (
        "init:init_command",
        "Write routoo.toml and experts.toml: a small pool of today's models for the providers you have keys of.",
    ),
    "route": (
        "route:route_command",
        "Explain who would answer TEXT and why; nobody is called and nothing is charged.",
    ),
    "serve": (
        "serve:serve_command",
        "Serve the router over HTTP, in OpenAI's protocol: any client of it needs a base address and nothing else.",
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
        "Teach a router one more expert from a few labels; what it predicts for the others stays as it is.",
    ),
    "suggest-prompts": (
        "suggest_prompts:suggest_prompts_command",
        "Choose which prompts to label before adding an expert: spread over everything the router's encoder tells "
        "apart.",
    ),
    "universe": (
        "universe:universe_command",
        "Choose the experts that complement one another best: greedily, with a bound of how far from optimal that can "
        "be.",
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
        "Run a stream of prompts through the router and a ledger, answered by what was observed: what would a budget "
        "do?",
    ),
    "feedback": (
        "feedback:feedback_command",
        "Sum real calls up by week: spend, savings, what people thought, and whether the predictions drift from that.",
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
        "Show every account as a tree: limit, spent, held, left, when it resets, and what it will come to.",
    ),
    "watch": (
        "budget:watch_command",
        "Show the accounts as 'budget show' does, again and again until Ctrl-C.",
    ),
    "history": (
        "budget:history_command",
        "Show what was spent in every period, the oldest first; of a rolling one in each sixtieth of the last five "
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
        "Keep the prompts that a reference expert fails, and some of the others at random: what is hard teaches most.",
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
    "synthesise": (
        "data_write:synthesise_command",
        "Have an expert write more prompts like yours: multiple choice where they have choices, else prompts as they "
        "are.",
    ),
    "paraphrase": (
        "data_write:paraphrase_command",
        "Have an expert say prompts in other words, for 'routoo evaluate --stress 60 --paraphrases': prompt_id, prompt.",  # noqa: E501
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
        "Make a new key for an account and print it; the old one opens nothing any more, or for --grace longer.",
    ),
    "revoke": (
        "key:revoke_command",
        "Let an account's key open nothing, at once, in running gateways too.",
    ),
    "expire": (
        "key:expire_command",
        "Set when an account's key ends.",
    ),
}
"""``routoo key …``."""
