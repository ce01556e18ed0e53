"""Profiles: one YAML file holds every choice of a run. Frozen, validated, unknown keys refused."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, Field, JsonValue, ValidationError, model_validator

from cxr_core.errors import UsageError
from cxr_core.refs import Frozen, Precision

Share = Annotated[float, Field(ge=0, le=1)]
Margin = Annotated[float, Field(gt=0, lt=0.5)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
PoolName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class PhantomConfig(Frozen):
    """Generated radiographs, for machines without real data. Figures on them are about phantoms."""

    patients: Annotated[int, Field(ge=24, description="patients over train, val and test")] = 160
    size: Annotated[int, Field(ge=32, le=1024, description="short side in pixels")] = 96
    seed: Seed = 0


class DataConfig(Frozen):
    """What is taken in and how much of it may be unusable."""

    quarantine_share: Share = Field(0.01, description="largest share of unusable files before the run stops")
    largest_pixels: Count = Field(100_000_000, description="pixel count above which an image is a decompression bomb")


class SplitConfig(Frozen):
    """How validation is cut from the training patients. The published test stays test."""

    seed: Seed = 0
    val_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.143
    test_share: Annotated[float, Field(gt=0, lt=0.5, description="used only where no test split was published")] = 0.15
    near_duplicate_correlation: Annotated[float, Field(gt=0.9, le=1)] = 0.985


class TensorsConfig(Frozen):
    """Decoded and resized once; everything downstream reads these frozen uint8 arrays."""

    size: Annotated[int, Field(ge=32, le=1024, description="height and width in pixels")] = 96
    filter: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = "bilinear"


class CalibrationConfig(Frozen):
    """The INT8 calibration set: training patients only, stratified."""

    images: Annotated[int, Field(ge=16)] = 256
    held_back: Annotated[
        int, Field(ge=16, description="images of other training patients at most, on which a search for INT8 is judged")
    ] = 128
    seed: Seed = 0


class TrainConfig(Frozen):
    """The training recipe. The budget is counted in images seen, so a result does not hang on the clock."""

    model: str = Field("cxr_small", description="any timm model name")
    pretrained: str = Field("none", description="none, hub, or FILE@sha256:DIGEST of a local weights file")
    images: Count = Field(100_000, description="images seen, the training budget")
    batch: Annotated[int, Field(ge=2, multiple_of=2)] = 32
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warmup_share: Share = 0.1
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.05
    drop_rate: Annotated[float, Field(ge=0, lt=1)] = 0.2
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.995
    clip_norm: Annotated[float, Field(gt=0)] = 5.0
    augmentation: Literal["none", "strong"] = "strong"
    border_probability: Share = Field(0.0, description="chance of a black border, against the geometry shortcut")
    flip_average: bool = Field(True, description="the graph averages an image and its mirror image")
    amp: Literal["auto", "none", "bf16", "fp16"] = Field(
        "auto", description="auto: measured, and used only where faster"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="cuda also means ROCm")
    micro_batch: Annotated[
        int, Field(ge=0, multiple_of=2, description="images at once, a divisor of the batch; 0 takes what fits the GPU")
    ] = 0
    memory_mebibytes: Count | None = Field(None, description="GPU memory that training may take; all of it if blank")
    threads: Annotated[int, Field(ge=0, description="CPU threads; 0 takes all")] = 0
    seed: Seed = 0
    checkpoint_images: Count = Field(20_000, description="images between two resumable checkpoints")

    @model_validator(mode="after")
    def _in_equal_parts(self) -> "TrainConfig":
        if self.micro_batch and self.batch % self.micro_batch:
            raise ValueError(f"micro_batch must divide batch = {self.batch}; found {self.micro_batch}")
        return self


class ExportConfig(Frozen):
    """ONNX export."""

    opset: Annotated[int, Field(ge=18, le=20)] = 18


class ParityConfig(Frozen):
    """The gate between PyTorch and ONNX. Tolerances are those of the source experiment."""

    rtol: Annotated[float, Field(gt=0)] = 1e-3
    atol: Annotated[float, Field(gt=0)] = 1e-5
    batches: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 2, 17)
    images: Count = 64
    smallest_spread: Annotated[
        float, Field(gt=0, description="outputs that vary less over real images are untrained")
    ] = 1e-3
    seed: Seed = 0


class VariantConfig(Frozen):
    """How a graph is lowered to a precision."""

    int8_method: Literal["search", "minmax", "percentile", "entropy", "mse"] = Field(
        "search", description="a calibrator quantises all; search takes the best, and leaves FP32 where the budget asks"
    )
    int8_shift: Share = Field(0.005, description="budget of the search: mean |delta p| on held-back training patients")
    int8_flips: Share = Field(0.01, description="budget of the search: share of changed decisions there")
    keep_squeeze_excite: bool = Field(True, description="squeeze-excite blocks stay in high precision")
    keep_stem: bool = Field(True, description="the first convolution, which reads the image, stays in high precision")


class EngineConfig(Frozen):
    """How a backend compiles and opens an engine. All but threads and time limit are TensorRT's."""

    threads: Annotated[int, Field(ge=0, description="CPU threads; 0 takes all")] = 0
    time_limit_seconds: Annotated[float, Field(gt=0)] = 900
    batches: Annotated[
        tuple[Count, ...], Field(min_length=3, max_length=3, description="smallest, tuned and largest batch of a plan")
    ] = (1, 32, 64)
    workspace_mebibytes: Count = Field(4096, description="GPU memory that a tactic may use while it is built")
    memory_mebibytes: Count = Field(8192, description="GPU memory that an opened plan may take, weights and all")
    optimization_level: Annotated[
        int, Field(ge=0, le=5, description="more searches longer; 0 uses no timing cache")
    ] = 3
    cuda_graph: bool = Field(False, description="a plan is run as a captured CUDA graph")
    spin_wait: bool = Field(True, description="a processor spins while it waits for a GPU; else it sleeps")

    @model_validator(mode="after")
    def _rising(self) -> "EngineConfig":
        if list(self.batches) != sorted(self.batches):
            raise ValueError(f"batches must not fall: smallest, tuned, largest; found {list(self.batches)}")
        return self


class BenchmarkConfig(Frozen):
    """Measurement floors. Each holds: at least that long and at least that many."""

    warmup_seconds: Annotated[float, Field(ge=0, description="an engine's warm-up at least, over both shapes")] = 0.5
    warmup_longest_seconds: Annotated[
        float, Field(gt=0, description="the warm-up goes on until speed stands still or this is over")
    ] = 10
    round_seconds: Annotated[float, Field(gt=0, description="one engine's turn in one round")] = 0.5
    rounds: Annotated[int, Field(ge=2, multiple_of=2, description="ABBA rounds")] = 10
    iterations: Annotated[int, Field(ge=1, description="latency queries at least, per engine")] = 700
    median_width: Annotated[
        float, Field(gt=0, description="the 95 % interval of each median latency at most, as a share of it")
    ] = 0.1
    longest_seconds: Annotated[
        float, Field(gt=0, description="after the rounds, more follow until the floors hold or this is over")
    ] = 120
    throughput_batch: Count = 32
    transfers: bool = Field(True, description="timed queries copy images to a GPU and answers back")
    streams: Annotated[
        int,
        Field(
            ge=0, description="batches worked on at once where throughput is measured; 0 tries a few, takes the best"
        ),
    ] = 1
    peak_seconds: Annotated[
        float, Field(gt=0, description="how long each arithmetic of a CPU is probed for the most that it computes")
    ] = 0.2
    seed: Seed = 0


class AccuracyConfig(Frozen):
    """How scores are made."""

    batch: Count = 64


class CompareConfig(Frozen):
    """Statistics and the gate's budgets, against the FP32 reference on the same images. Not stated: not asked."""

    bootstrap: Annotated[int, Field(ge=200)] = 2000
    seed: Seed = 0
    prevalence: Annotated[float, Field(gt=0, lt=1, description="prevalence at which PPV is also stated")] = 0.1
    accuracy_margin: Margin = Field(0.01, description="largest accepted loss of accuracy")
    sensitivity_margin: Margin | None = Field(None, description="largest accepted loss of sensitivity")
    flips_share: Share = Field(0.01, description="largest accepted share of changed decisions")
    probability_shift: Share = Field(0.01, description="largest accepted mean |delta p|")
    calibration_loss: Share | None = Field(None, description="largest accepted growth of the calibration error (ECE)")
    latency_ms: Positive | None = Field(None, description="largest accepted 99th percentile of single queries, ms")
    engine_mb: Positive | None = Field(None, description="largest accepted engine, in millions of bytes")


class OcclusionConfig(Frozen):
    """Maps of where the answer hangs, on images on which a precision disagrees with FP32."""

    images: Annotated[int, Field(ge=0, le=12, description="images, two maps each; 0 makes none")] = 0


class RobustnessConfig(Frozen):
    """Accuracy on validation images that were made worse."""

    images: Annotated[int, Field(ge=0, description="validation images at most; 0 skips it")] = 0
    seed: Seed = 0


class PlacementConfig(Frozen):
    """Work pools of other machines, artifacts travelling by the mirror. Not stated: where the run is."""

    train: PoolName | None = Field(None, description="pool that reads the X-rays, trains and exports")
    engines: PoolName | None = Field(None, description="pool that builds, measures and scores the engines")


class Profile(Frozen):
    """Every choice of a run."""

    name: str
    source: Literal["auto", "phantom"] = Field("auto", description="auto: real data where it is found")
    phantom: PhantomConfig = PhantomConfig()
    data: DataConfig = DataConfig()
    split: SplitConfig = SplitConfig()
    tensors: TensorsConfig = TensorsConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    train: TrainConfig = TrainConfig()
    export: ExportConfig = ExportConfig()
    parity: ParityConfig = ParityConfig()
    variant: VariantConfig = VariantConfig()
    engine: EngineConfig = EngineConfig()
    benchmark: BenchmarkConfig = BenchmarkConfig()
    accuracy: AccuracyConfig = AccuracyConfig()
    compare: CompareConfig = CompareConfig()
    occlusion: OcclusionConfig = OcclusionConfig()
    robustness: RobustnessConfig = RobustnessConfig()
    placement: PlacementConfig = PlacementConfig()
    precisions: tuple[Precision, ...] = (Precision.FP32, Precision.FP16, Precision.BF16, Precision.INT8)
    backends: tuple[str, ...] = ("openvino", "onnxruntime")
    require: tuple[str, ...] = Field((), description="PRECISION or PRECISION@BACKEND whose verdict must be pass")

    @model_validator(mode="after")
    def _branches_once(self) -> "Profile":
        for name, values in (("precisions", self.precisions), ("backends", self.backends)):
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} must name at least one, each once; found {list(values)}")
        return self

    @model_validator(mode="after")
    def _batches_suffice(self) -> "Profile":
        smallest, _, largest = self.engine.batches
        used = {
            "1 (latency)": 1,
            "benchmark.throughput_batch": self.benchmark.throughput_batch,
            "accuracy.batch": self.accuracy.batch,
        }
        outside = [f"{name} = {count}" for name, count in used.items() if not smallest <= count <= largest]
        if "tensorrt" in self.backends and outside:
            raise ValueError(
                f"engine.batches {list(self.engine.batches)} must cover {', '.join(outside)}: TensorRT takes no others"
            )
        return self


def parse_yaml(text: str) -> Any:
    """What a YAML text says.

    Raises:
        yaml.YAMLError: it is none, or holds a value that PyYAML itself stumbles over, such as 2020-13-45.
    """
    try:
        return yaml.safe_load(text)
    except (ValueError, AttributeError, RecursionError) as error:
        raise yaml.YAMLError(str(error)) from error


def load_profile(path: Path, overrides: Mapping[str, JsonValue] | None = None) -> Profile:
    """The profile in a YAML file, with overrides (``{section: {field: value}}``) laid over it.

    Raises:
        UsageError: no such file, not YAML, an unknown key (the message names the nearest known
            one) or a value out of range.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"profile {path} is not UTF-8 text: {error}") from error
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise UsageError(f"no profile at {path} ({error.strerror}); profiles there: {known}") from error
    try:
        content = parse_yaml(text)
    except yaml.YAMLError as error:
        raise UsageError(f"profile {path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"profile {path} must be a mapping of sections, found {type(content).__name__}")
    _lay_over(content, overrides or {})
    return profile_from_mapping(content, str(path))


def profile_from_mapping(content: Mapping[str, Any], source: str) -> Profile:
    """A validated profile.

    Raises:
        UsageError: every problem on a line of its own, with the place and the nearest known key.
    """
    try:
        return Profile.model_validate(content)
    except ValidationError as error:
        lines = [_explain(problem["loc"], problem["msg"], problem["type"]) for problem in error.errors()]
        raise UsageError(f"profile {source}:\n" + "\n".join(f"  {line}" for line in lines)) from error


def _lay_over(content: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    for name, value in overrides.items():
        there = content.get(name)
        if isinstance(value, Mapping) and (there is None or isinstance(there, dict)):
            content[name] = there or {}
            _lay_over(content[name], value)
        else:
            content[name] = value


def _explain(location: tuple[int | str, ...], message: str, kind: str) -> str:
    place = ".".join(str(part) for part in location)
    if kind != "extra_forbidden":
        return f"{place}: {message}"
    known = _fields_at(location[:-1])
    near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(known)}"
    return f"{place}: unknown key{hint}"


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Profile
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        candidates = [annotation, *get_args(annotation)]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)
