"""The plan as text: what `dry_run=true` prints."""

from collections.abc import Iterator

from sciriff.config import Config, ServerConfig, ShapeConfig
from sciriff.driver.plan import answers, speed
from sciriff.driver.plan.general import leaves_of
from sciriff.driver.plan.merging import merge_line
from sciriff.driver.plan.run_plan import Plan, checkpoints
from sciriff.models.api.prices import Price
from sciriff.models.attention_kernels import FLASH
from sciriff.run.nodes import cluster
from sciriff.run.number_format import dollars, duration

NO_LIMIT = "no entry in general.limit, so all documents: "


def lines(config: Config, plan: Plan) -> list[str]:
    api, shape = config.model.api, config.model.shape
    weights = "merged" if "merge" in config.active_stages else config.model.path or "random weights"
    what = f"({weights}){f', {_parameters(shape)}' if shape else ''}"
    text = [
        f"run       {config.name} in {config.run_dir}",
        f"stages    {', '.join(config.active_stages)}",
        f"model     {config.model.name} {f'({api.name} at {api.provider})' if api else what}",
        f"machine   {_machine(plan)}",
    ]
    if "train" in config.active_stages:
        text += _training(config, plan)
    if "merge" in config.active_stages:
        text.append(f"merge     {merge_line(config, plan.disk)}")
    if "predict" in config.active_stages:
        workload = answers.workload(config)
        price = answers.price(config) if workload else None
        usd = workload.usd(price) if workload and price else None
        together = plan.general is not None and plan.general.prompts and usd is not None
        cap = _cap(config.engine, usd) if config.engine.asks and not together else ""
        where = "" if config.engine.asks else _replicas(config, plan)
        thinking = f" after at most {config.thinking_tokens} of a thought" if config.thinking_tokens else ""
        longest = f"{config.eval.max_new_tokens} new tokens at most{thinking}"
        text.append(f"predict   {config.engine.name}, {where}{_answers(config, workload, price)}{longest}{cap}")
        text += _general(config, plan, usd)
        if config.report.untrained and "train" in config.active_stages:
            text.append("untrained answers the same prompts before, once for all such runs (report.untrained)")
    if "judge" in config.active_stages:
        judge = config.judge
        cap = _cap(judge) if judge.asks else ""
        text.append(f"judge     {judge.model if judge.asks else judge.path} ({judge.provider}){cap}")
    if "publish" in config.active_stages:
        targets = ", ".join(
            f"{target.what} to the {target.kind} repository {target.repo}" for target in config.publish.targets
        )
        text.append(f"publish   {targets}, {'private' if config.publish.private else 'PUBLIC'}, once all else is done")
    return text


def _parameters(shape: ShapeConfig) -> str:
    """Format the size: `30.53B parameters, 3.35B of them for each token`, and what a tower has of it."""
    text = f"{_size(shape.parameters)} parameters"
    if shape.active is not None and shape.active < shape.language_parameters:
        text += f", {_size(shape.active)} of them for each token"
    if shape.frozen:
        text += f", {_size(shape.frozen)} in towers, which text does not reach"
    return text


def _size(parameters: int) -> str:
    return f"{parameters / 1e9:.2f}B" if parameters > 1e8 else f"{parameters / 1e6:.1f}M"


def _machine(plan: Plan) -> str:
    """Describe the hardware, and with several nodes which stages run where."""
    if len(plan.nodes) == 1:
        return plan.device
    first, *_, last = plan.nodes
    others = "mix, judge, score and report run on the first"
    return f"{len(plan.nodes)} nodes, {first} to {last}, each with {plan.device}; {others}"


def _replicas(config: Config, plan: Plan) -> str:
    """Format the engines, as in `16 engines on 2 GPUs each, 4 on each of 4 nodes, `."""
    ways, nodes = config.engine.tensor_parallel, len(plan.nodes)
    # Too few GPUs are reported by the checks before the run; the plan shows at least one engine on each node.
    counts = cluster.replicas_per_node(config.engine.replicas, ways, gpus=0, nodes=nodes)
    if config.engine.replicas == "auto":
        counts = [max(1, plan.gpus // ways)] * nodes
    total = sum(counts)
    if total == 1 and ways == 1:
        return ""
    gpus = f" on {ways} GPUs each" if ways > 1 else ""
    per_node = f"{counts[0]} on each of {nodes} nodes" if len(set(counts)) == 1 else f"{counts} on the nodes"
    return f"{total} engine{'s' * (total > 1)}{gpus}{f', {per_node}' if nodes > 1 else ''}, "


def _answers(config: Config, workload: answers.Workload | None, price: Price | None) -> str:
    """Format what is known of the answers: `16,708 answers (4 samples of each) for about $21 (litellm 1.110.2), `."""
    samples = config.eval.samples
    each = f"{samples} samples of each answer" if samples > 1 else ""
    if workload is None:
        return f"{each}, " if each else ""
    source = f" ({price.source})" if price and price.source else ""
    cost = f" for about {dollars(workload.usd(price))}{source}" if price else ""
    return f"{workload.answers:,} answers{f' ({samples} samples of each)' if each else ''}{cost}, "


def _general(config: Config, plan: Plan, science_usd: float | None) -> Iterator[str]:
    """Format the prompts of the general tasks, and with a server what they cost beside the `science_usd` of others."""
    work, server = plan.general, config.engine
    if work is None:
        return
    unknown = f"not known here for {', '.join(work.unknown)}"
    if not work.prompts:
        yield f"general   {config.general.name}, number of prompts {unknown}"
        if whole := _without_limit(config):
            yield f"          {NO_LIMIT}{', '.join(whole)}"
        return
    price = answers.price(config)
    usd = work.usd(price) if price else None
    cost = f" for about {dollars(usd)}" if usd is not None else ""
    hours = plan.general_hours
    lasts = "" if hours is None else f", about {duration(3600 * hours)} on all GPUs (a rough estimate)"
    tokens = f"{work.read_tokens / 1e6:.1f}M tokens of prompts and {work.written_tokens / 1e6:.1f}M of answers"
    if work.read_tokens < 1e6:
        tokens = f"{work.read_tokens:,.0f} tokens of prompts and {work.written_tokens:,.0f} of answers"
    yield f"general   {config.general.name}, {work.prompts:,} prompts, about {tokens}{cost}{lasts}"
    if whole := _without_limit(config):
        yield f"          {NO_LIMIT}{', '.join(whole)}"
    if work.unknown:
        yield f"          besides a number of prompts that is {unknown}"
    if work.by_letter:
        yield f"          a server gives no likelihoods, so it is asked for a letter: {', '.join(work.by_letter)}"
    if usd is not None and science_usd is not None:
        total = usd + science_usd
        yield f"          about {dollars(total)} with the answers above{_cap(server, total)}"


def _without_limit(config: Config) -> list[str]:
    """Tasks that are asked whole since general.limit names others alone."""
    limit = config.general.limit
    if not limit or not isinstance(limit, dict):
        return []
    inside = {
        task: {name for leaf in leaves_of(task) for name in (leaf.task, *leaf.groups)} for task in config.general.tasks
    }
    return [task for task, names in inside.items() if not limit.keys() & {task, *names}]


def _cap(server: ServerConfig, usd: float | None = None) -> str:
    if server.max_usd is None:
        return ""
    refused = ", so it would be refused: raise engine.max_usd" if usd is not None and usd > server.max_usd else ""
    return f", ${server.max_usd:g} at most{refused}"


def _training(config: Config, plan: Plan) -> Iterator[str]:
    train, zero = config.train, config.deepspeed
    if plan.rows is None:
        yield "mix       rows and steps are known once its sources are read (stages=[mix])"
    else:
        yield f"mix       {plan.rows:,} rows, about {(plan.tokens or 0) / 1e6:.1f}M tokens an epoch"
    method = "" if train.method == "full" else f"{train.method}, "
    epochs = train.epochs if plan.steps is None else speed.epochs(config, plan.rows, plan.steps)
    steps = "?" if plan.steps is None else plan.steps
    rate = f"peak learning rate {train.learning_rate:g}, {train.schedule}, {train.precision}"
    yield f"train     {steps} steps of {train.global_batch_size} sequences, {method}{epochs:.3g} epochs, {rate}"
    how = f"DeepSpeed ZeRO-{zero.zero_stage}{', offload' if zero.offload else ''}" if zero.zero_stage else "plain torch"
    nodes = len(plan.nodes)
    spread = f", {plan.processes // nodes} on each of {nodes} nodes" if nodes > 1 else ""
    yield f"spawn     {plan.processes} training process{'es' * (plan.processes > 1)}{spread}, {how}"
    if plan.deepspeed_factor < 1 and plan.on_gpu:
        yield f"          {_deepspeed_slowdown(config, plan)}"
    if plan.slow_attention is not None:
        yield f"attention {plan.slow_attention}"
    if plan.slow_layers is not None:
        yield f"layers    {plan.slow_layers}"
    if plan.selection is not None:
        yield f"best      {plan.selection}"
    assert plan.memory is not None
    parts = ", ".join(f"{name} {gib:.1f}" for name, gib in vars(plan.memory).items() if gib)
    yield f"memory    {plan.memory.total:.1f} of {plan.capacity:.0f} GiB a process: {parts}"
    yield f"disk      {plan.disk:.1f} GiB at the most ({_disk_peaks(config)})"
    if plan.hours is None:
        return
    if not plan.on_gpu:
        yield f"time      about {plan.hours:.1f} hours of training"
        return
    share = (
        f"{speed.utilisation(config, plan.attention) * plan.deepspeed_factor:.0%} of the peak as measured on one H100"
    )
    if speed.other_than_measured(config):
        share += " with a dense 7B (mixtures and hybrids are not measured)"
    if plan.imagined and plan.attention in FLASH:
        share += ", if FlashAttention is installed there"
    part = f", {plan.validation_hours:.1f} of them validation" if plan.validation_hours >= 0.05 else ""
    yield f"time      about {plan.hours:.1f} hours of training{part}, at {share}"
    if plan.network is not None:
        needed = plan.network.gigabytes_per_second
        yield (
            f"network   each node receives {plan.network.gigabytes:,.0f} GB in a step of {plan.network.seconds:.1f} s: "
            f"below {needed:.0f} GB/s ({8 * needed:.0f} Gbit/s) the network is the bottleneck, not the GPUs"
        )
    if plan.price is not None:
        source = "" if config.plan.usd_per_gpu_hour is not None else ", a typical list price; set plan.usd_per_gpu_hour"
        yield f"price     about ${plan.price:,.0f} at ${plan.usd_per_gpu_hour:g} a GPU hour{source}"


def _disk_peaks(config: Config) -> str:
    """Format what fills the disk at its two peaks, as in `3 checkpoints, then 2 and the model`."""
    most = checkpoints(config)
    short = ("the model", "a checkpoint and the model")
    return short[most] if most < len(short) else f"{most} checkpoints, then {most - 1} and the model"


def _deepspeed_slowdown(config: Config, plan: Plan) -> str:
    slower = f"{1 / plan.deepspeed_factor:.1f} times slower than plain torch where that fits (measured on one GPU)"
    if config.deepspeed.offload:
        return f"{slower}: the optimizer in CPU memory is the last resort"
    resident = plan.deepspeed_factor == speed.ZERO3_RESIDENT
    return f"{slower}: {'all weights resident' if resident else 'weights gathered for each layer'}"
