"""``routoo demo``: the main job on a machine without keys, LangChain and LlamaIndex under one running budget."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.outputs import ChatGeneration, LLMResult
from rich.console import Console
from rich.table import Table

from routoo_core import embedded
from routoo_core.config import STARTER, read_config, read_pool
from routoo_core.errors import BudgetExceeded
from routoo_core.evaluation.plots import Point, plot_curve
from routoo_core.experts import Pool
from routoo_core.local_endpoint import LocalEndpoint
from routoo_core.measures.curve import Curve, serve, sweep
from routoo_core.money import format_usd
from routoo_core.predictor.checkpoint import find_router
from routoo_core.predictor.reference import Reference, read_reference
from routoo_core.router import Router
from routoo_integrations.demo import prompts

DOCUMENTS = Path(__file__).parent / "documents"
REPLY_TOKENS = 64
MOST_MORE = 40
COLUMNS = (
    ("via", 10),
    ("kind", 11),
    ("prompt", 28),
    ("predicted quality, top three", 53),
    ("chosen", 13),
    ("answered by", 11),
    ("expected", 9),
    ("settled", 9),
    ("left", 9),
)
WIDTH = sum(width for _, width in COLUMNS) + 2 * len(COLUMNS)
STAND_IN_NOTE = f"""\
[yellow]No API key for {{count}} of {{of}} experts: {embedded.MODEL} stands in for them on {{at}}.[/yellow]
The decision, the wire, the usage and the accounting are real; the stand-in's weights are not that expert's.
Set OPENAI_API_KEY or TOGETHER_API_KEY to have those experts called for real.
"""
SYSTEM = "Answer briefly and to the point."


@dataclass(frozen=True)
class Call:
    """One routed call: what was asked through what, and its decision record (``None`` when refused)."""

    via: str
    kind: str
    prompt: str
    record: dict[str, Any] | None


class Demo:
    """The calls made so far, printed as they come: one line each, columns as wide in every line."""

    def __init__(self, router: Router, standing_in: set[str], console: Console) -> None:
        self.router, self.standing_in, self.console = router, standing_in, console
        self.calls: list[Call] = []

    def add(self, via: str, kind: str, prompt: str, record: dict[str, Any] | None) -> None:
        """Show one more call; a record of ``None`` means that it was refused."""
        self.calls.append(Call(via, kind, prompt, record))
        if record is None:
            self._line(
                via,
                kind,
                prompt,
                "[red]refused: nothing is affordable any more[/red]",
                "[red]nobody[/red]",
            )
            return
        top = sorted(record["candidates"], key=lambda c: -c["quality"])[:3]
        chosen = next(c for c in record["candidates"] if c["expert"] == record["expert"])
        left = (self.router.budget.limit or Decimal(0)) - Decimal(record["spent_usd"])
        self._line(
            via,
            kind,
            prompt,
            " · ".join(f"{c['expert']} {c['quality']:.2f}" for c in top),
            f"[bold]{record['expert']}[/bold]"
            + "".join(f" [red]after {f['expert']} failed[/red]" for f in record["attempts"][:-1]),
            "[yellow]stand-in[/yellow]"
            if record["expert"] in self.standing_in
            else "[green]the expert[/green]",
            *(
                f"${Decimal(amount):.6f}"
                for amount in (chosen["expected_usd"], record["settled_usd"], left)
            ),
        )

    def header(self) -> None:
        """Print the columns' names."""
        self._line(*(f"[bold]{name}[/bold]" for name, _ in COLUMNS))
        self.console.rule(style="dim")

    def _line(self, *cells: str) -> None:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for name, width in COLUMNS:
            table.add_column(width=width, no_wrap=name == "prompt", overflow="ellipsis")
        table.add_row(*cells)
        self.console.print(table)


def run_demo(folder: Path, console: Console) -> None:
    """Route LangChain and LlamaIndex calls until the budget is gone; leave configuration, ledger and picture.

    Args:
        folder: Where they go; files already there are kept.
        console: Where the table goes.

    Raises:
        MissingDependency: An extra is not installed; ``routoo[all]`` brings everything.
        ConfigurationError: The weights could not be fetched, or the folder's configuration is wrong.
    """
    if not console.is_terminal:
        console.width = WIDTH
    embedded.model_folder()
    path = _starter(folder)
    with LocalEndpoint() as endpoint, _router(path, endpoint) as (router, standing_in):
        if standing_in:
            console.print(
                STAND_IN_NOTE.format(
                    count=len(standing_in), of=len(router.pool), at=endpoint.base_url
                )
            )
        reference = read_reference(find_router(read_config(path).router, folder))
        converse(Demo(router, standing_in, console), reference, folder)


def converse(demo: Demo, reference: Reference, folder: Path) -> None:
    """Make the calls, then report on them; Ctrl-C ends the calls early and keeps the report.

    Args:
        demo: The router, and where to print.
        reference: Held-out predictions and scores of the router's checkpoint.
        folder: Where the picture goes.
    """
    demo.header()
    try:
        with demo.console.status("calling …"):
            _chain_calls(demo)
            _query_engine_calls(demo)
            _more_calls(demo)
    except KeyboardInterrupt:
        demo.console.print(
            "\n[yellow]Interrupted.[/yellow] Holds were let go; what was called is booked."
        )
    _report(demo, reference, folder)


def _starter(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for source in STARTER.glob("*.toml"):
        if not (folder / source.name).exists():
            shutil.copyfile(source, folder / source.name)
    return folder / "routoo.toml"


@contextmanager
def _router(path: Path, endpoint: LocalEndpoint) -> Iterator[tuple[Router, set[str]]]:
    """The configured router, with the stand-in behind every expert whose key is not set; its ledger is closed after."""
    pool = read_pool(path, read_config(path))
    standing_in = {expert.name for expert in pool if expert.api_key_env and not expert.api_key()}
    here = Pool(
        endpoint.stand_in_for(expert) if expert.name in standing_in else expert for expert in pool
    )
    router = Router.from_toml(path, pool=here)
    try:
        yield router, standing_in
    finally:
        router.ledger.close()


def _chain_calls(demo: Demo) -> None:
    """LangChain: a chain one by one, once streamed, and a concurrent batch."""
    chain = _chain(demo.router)
    for kind, text in prompts.CHAIN:
        _ask(demo, chain, kind, text)
    kind, text = prompts.STREAMED
    heard = _Listener()
    for _ in chain.stream({"question": text}, config={"callbacks": [heard]}):
        pass
    demo.add("… streamed", kind, text, heard.record)
    listeners = [_Listener() for _ in prompts.BATCH]
    configs: list[Any] = [{"callbacks": [listener]} for listener in listeners]
    chain.batch([{"question": text} for _, text in prompts.BATCH], config=configs)
    asked = zip(prompts.BATCH, (listener.record or {} for listener in listeners), strict=True)
    for (kind, text), record in sorted(asked, key=lambda pair: Decimal(pair[1]["spent_usd"])):
        demo.add("… batch", kind, text, record)


def _more_calls(demo: Demo) -> None:
    """More traffic than the budget was planned for: what is left buys cheaper experts, then nobody."""
    demo.console.rule("[dim]more traffic than the budget was planned for[/dim]", style="dim")
    chain = _chain(demo.router)
    for kind, text in islice(cycle(prompts.MORE), MOST_MORE):
        _ask(demo, chain, kind, text)
        if demo.calls[-1].record is None:
            return


def _chain(router: Router) -> Any:
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate

    from routoo_integrations.langchain import RoutooChatModel

    template = ChatPromptTemplate.from_messages([("system", SYSTEM), ("human", "{question}")])
    return template | RoutooChatModel(router, max_tokens=REPLY_TOKENS) | StrOutputParser()


def _ask(demo: Demo, chain: Any, kind: str, text: str) -> None:
    heard = _Listener()
    try:
        chain.invoke({"question": text}, config={"callbacks": [heard]})
    except BudgetExceeded:
        demo.add("LangChain", kind, text, None)
    else:
        demo.add("LangChain", kind, text, heard.record)


class _Listener(BaseCallbackHandler):
    """Keeps the decision record of a call made somewhere inside a chain."""

    record: dict[str, Any] | None = None

    def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        generation = response.generations[0][0]
        if isinstance(generation, ChatGeneration):
            self.record = generation.message.response_metadata["routoo"]


def _query_engine_calls(demo: Demo) -> None:
    """LlamaIndex: a query engine over the guide's pages, found by the words they share with the question."""
    from llama_index.core import Document, VectorStoreIndex

    from routoo_integrations.demo.embedding import WordEmbedding
    from routoo_integrations.llama_index import RoutooLLM

    documents = [
        Document(text=page.read_text(encoding="utf-8")) for page in sorted(DOCUMENTS.glob("*.md"))
    ]
    index = VectorStoreIndex.from_documents(documents, embed_model=WordEmbedding())
    engine = index.as_query_engine(
        llm=RoutooLLM(demo.router, max_tokens=REPLY_TOKENS), similarity_top_k=1
    )
    with _decisions() as records:
        for kind, text in prompts.RETRIEVAL:
            try:
                engine.query(text)
            except BudgetExceeded:
                demo.add("LlamaIndex", kind, text, None)
            else:
                demo.add("LlamaIndex", kind, text, records[-1])


@contextmanager
def _decisions() -> Iterator[list[dict[str, Any]]]:
    """The decision records of LlamaIndex calls made inside the block, from its instrumentation."""
    from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
    from llama_index.core.instrumentation.event_handlers import BaseEventHandler

    from routoo_integrations.llama_index import RoutooDecisionEvent

    records: list[dict[str, Any]] = []

    class Keep(BaseEventHandler):
        def handle(self, event: Any, **_: Any) -> None:
            if isinstance(event, RoutooDecisionEvent):
                records.append(event.record)

    handler = Keep()
    get_dispatcher().add_event_handler(handler)
    try:
        yield records
    finally:
        get_dispatcher().event_handlers.remove(handler)


def _report(demo: Demo, reference: Reference, folder: Path) -> None:
    """Shares, spend beside "always the best expert", and the quality–cost curve with this run on it."""
    console = demo.console
    routed = [call.record for call in demo.calls if call.record]
    if not routed:
        return
    shares = Counter(record["expert"] for record in routed)
    table = Table("expert", "calls", "share", title="Who answered", title_justify="left")
    for name, count in shares.most_common():
        table.add_row(name, str(count), f"{count / len(routed):.0%}")
    console.print()
    console.print(table)
    best, curve, alone = _measured_curve(demo.router, reference, routed)
    spent = sum(Decimal(record["settled_usd"]) for record in routed)
    always = sum(
        Decimal(c["expected_usd"]) for r in routed for c in r["candidates"] if c["expert"] == best
    )
    state = demo.router.ledger.state(demo.router.budget)
    console.print(
        f"Spent {format_usd(state.spent)} of {format_usd(state.limit or 0)} for {len(routed)} calls"
        f" ({len(demo.calls) - len(routed)} refused), {format_usd(state.held)} still held; always {best} would have"
        f" cost about ${always:.6f}: [bold]{1 - spent / always:.0%} less[/bold]."
    )
    per_call = float(spent) / len(routed)
    label = f"this run's spend: {per_call / alone[best][0]:.0%} of always {best}"
    here = Point(label, per_call, float(curve.at(per_call)))
    picture = folder / "quality-cost.png"
    plot_curve(
        picture,
        curve,
        alone,
        here,
        "What a budget buys (MMLU-Pro questions held out from training)",
    )
    console.print(
        f"At this spend the router answers {here.quality:.1%} of held-out MMLU-Pro questions correctly; always {best}:"
        f" {alone[best][1]:.1%}.\nPicture: {picture}   Accounts: routoo budget show --config {folder / 'routoo.toml'}"
    )


def _measured_curve(
    router: Router, reference: Reference, routed: list[dict[str, Any]]
) -> tuple[str, Curve, dict[str, tuple[float, float]]]:
    """The best single expert, the curve on held-out prompts at this run's cost per call, and each expert alone."""
    experts = list(router.pool)
    reference = reference.select([expert.predicted_as for expert in experts])
    expected = [
        {c["expert"]: float(c["expected_usd"]) for c in record["candidates"]} for record in routed
    ]
    cost = np.array(
        [np.mean([call[e.name] for call in expected if e.name in call]) for e in experts]
    )
    scores = reference.scores.astype(np.float64)
    curve = serve(reference.quality.astype(np.float64), scores, cost, sweep(cost)).curve()
    alone = {e.name: (float(cost[i]), float(scores[:, i].mean())) for i, e in enumerate(experts)}
    return max(alone, key=lambda name: alone[name][1]), curve, alone
