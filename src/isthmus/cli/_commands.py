"""The commands and their arguments.

To add a command, declare it here, and write a module of the same name with the function
``run(arguments)``, which does the work and returns the exit code. The module is imported only when
the command runs, so that ``isthmus --help`` answers at once.
"""

from __future__ import annotations

from typing import NamedTuple

from isthmus.cli._options import (
    Argument,
    image_size,
    model_settings,
    names,
    option,
    run_folder,
    seconds,
    switch,
    whole_number,
)
from isthmus.models.specs import HANDLE_UNKNOWN, SPECS

__all__ = ["COMMANDS", "Command"]

MAX_STEPS = 40  # of a path
SHELLS = ("bash", "zsh", "fish")
EXAMPLES = "a row number, test:NUMBER, an image, or an .npy file"


class Command(NamedTuple):
    """A command: its line in ``isthmus --help``, its own help, and its arguments."""

    summary: str
    description: str
    arguments: tuple[Argument, ...]
    examples: tuple[str, ...]


COMMANDS: dict[str, Command] = {}  # in the order in which `isthmus --help` lists them


def _declare(
    name: str, summary: str, description: str, *arguments: Argument, examples: tuple[str, ...] = ()
) -> None:
    COMMANDS[name] = Command(summary, description, arguments, examples)


RUN = option("run RUN: run folder written by `isthmus fit`", type=run_folder)
SEED = option("--random-state N: random seed", type=whole_number(0), default=0)
LIST = {"action": "extend", "default": []}
TABLES: tuple[Argument, ...] = (
    option("--drop COLUMN+: columns to leave out, such as identifiers", **LIST),
    option("--columns COLUMN+: the only columns to read", **LIST),
    option("--categorical COLUMN+: columns of categories, even if they are numbers", **LIST),
    option("--numeric COLUMN+: columns of numbers, even if only 0 and 1 occur", **LIST),
    option("--decimal auto|.|,: decimal mark (default: auto, the one that fits whole columns)"),
    option(
        "--na-values WORD+: cells that are missing, besides empty ones and words such as NA and ?",
        **LIST,
    ),
)
TABLES = tuple(each._replace(group="tables") for each in TABLES)
READING = (
    option(
        "--data-home DIR: folder of mnist and fashion-mnist (default: the environment variable "
        "ISTHMUS_DATA)"
    ),
    option(
        "--size SIZE: resize images to N x N pixels, or to HEIGHTxWIDTH such as 12x20; cut sound "
        "into windows of N samples",
        type=image_size,
    ),
    option("--label COLUMN: column of a table that holds the label"),
    option("--id COLUMN: column of a table that names its rows, not a feature", dest="id_column"),
    option(
        "--groups COLUMN: column of a table, not a feature: rows with equal cells, such as those "
        "of one patient, are held out together",
        dest="group_column",
    ),
    *TABLES,
)
UNKNOWN = option(
    f"--handle-unknown {'|'.join(HANDLE_UNKNOWN)}: categories of a table that were not seen during "
    "fit: an error, missing values, or missing values that are also named in the output (default: "
    "as the run was fitted, 'error' unless stated)",
    default=None,
)
RESIZE = switch("--resize: resize images to the size that the model takes")
DATA = (option("data DATA: dataset name or path, as for `isthmus fit`"), *READING)
FILES = (
    option(
        "--keep COLUMN: table column that is not a feature, to be copied to the output; may be "
        "repeated",
        action="append",
        default=[],
    ),
    option("--column COLUMN: the one table column that holds each row as a list"),
    option(
        "--device DEVICE: device to compute on (default: a GPU if there is one; one per torchrun "
        "process)",
        default="auto",
    ),
    switch("--force: process finished files again, and replace results"),
)
MODEL = option(f"--model NAME: {', '.join(SPECS)}", default="vae", choices=tuple(SPECS))


def other_data(help: str) -> tuple[Argument, ...]:
    """Declare data to use instead of the run's own, and how to read them."""
    return (option(f"--data DATA: {help}"), *READING, RESIZE)


_declare(
    "fit",
    "train a model on data; writes the model and a report with figures",
    "Train a model on data. Writes a folder with the model, its training history and report.html, "
    "a page of figures.",
    option(
        "data DATA: digits, mnist, fashion-mnist or sprites; or a path: .npy, .npz, .zarr, a table "
        "(.csv, .tsv, .parquet: numbers, yes and no, categories), or a folder of images or sounds "
        "(its subfolders are classes) or of .parquet files"
    ),
    MODEL,
    *READING,
    option("--out DIR: folder of the run (default: runs/DATA-MODEL)"),
    switch("--force: replace an existing run in --out"),
    switch("--resume: continue the interrupted run in --out with the settings it was started with"),
    option(
        "--test-fraction X: share of the rows held out for the summary, if the data have no test "
        "set of their own; 0 for none (default: 0.1)"
    ),
    option(
        "--checkpoint-every SECONDS: time between two checkpoints, from which --resume continues; "
        "'none' for no checkpoints, unless a run is resumed (default: 30)",
        type=seconds,
        default=30.0,
    ),
    switch(
        "--page: also write studio.html, a page that runs the model in the browser and contains up "
        "to 5000 rows of the data (needs isthmus[studio])"
    ),
    option(
        "--track NAME[,NAME]: also write metrics and images to tensorboard, mlflow (needs "
        "isthmus[track])",
        type=names,
        default=[],
    ),
    option(
        "--track-to DIR|URI: where the tracker writes: a folder, or a server's address (default: "
        "tensorboard in --out; mlflow chooses its own place)"
    ),
    switch("--quiet: print nothing but errors"),
    *model_settings(),
    examples=(
        "isthmus fit digits",
        "isthmus fit digits --n-components 2",
        "isthmus fit photos/ --size 64 --backbone conv",
        "isthmus fit table.csv --label class --model conditional-vae",
    ),
)

_declare(
    "tune",
    "train a grid of models together; writes a table, a plot and the best model",
    "Train one model at every point of a grid of settings, dense models many at a time, and "
    "evaluate all on the same held-out rows. Writes a folder with results.csv, rate-distortion.png "
    "and the best model as a run, which every other command takes.",
    *DATA,
    MODEL,
    option(
        "--grid SETTING=A,B,...: a setting and its values; repeat it for each setting. Join the "
        "widths of several layers by x: hidden=64,128x64",
        action="append",
    ),
    option(
        "--halving X: successive halving: train all for a few epochs, continue the best 1/X, and "
        "so on"
    ),
    option(
        "--max-stacked N: maximum number of models in one program; 1 trains them in turn",
        default=16,
    ),
    option("--test-fraction X: share of the rows held out to evaluate the models", default=0.1),
    option("--out DIR: folder (default: runs/DATA-MODEL-tune)"),
    switch("--force: replace an existing sweep in --out"),
    switch("--quiet: print nothing but errors"),
    *model_settings(),
    examples=(
        "isthmus tune digits --model beta-vae --grid beta=1,2,4 --grid random-state=0,1",
        "isthmus tune table.csv --grid learning-rate=0.001,0.003 --grid hidden=64,128x64 --halving "
        "3",
    ),
)

_declare("info", "describe a saved run", "Describe a saved run.", RUN)

_declare(
    "evaluate",
    "measure a saved run on data; prints a table and writes JSON",
    "Measure a saved run on data: bounds, importance-weighted likelihood, reconstruction, "
    "sparsity; on request annealed importance sampling, sample quality and disentanglement. Prints "
    "a table and writes evaluation.json into the run.",
    RUN,
    *DATA,
    RESIZE,
    UNKNOWN,
    option("--samples N: importance samples", type=whole_number(1), default=500),
    option("--rows N: measure on N rows drawn at random, not on all", type=whole_number(2)),
    switch(
        "--test-rows: measure only the test rows recorded in the run, which its model has not seen"
    ),
    switch("--annealed: annealed importance sampling on 100 rows drawn at random"),
    option(
        "--quality values|codes: quality of samples from the prior, in raw values or in the run's "
        "own codes",
        default=None,
    ),
    option(
        "--factors FILE: .npy of whole numbers (rows, factors): adds the disentanglement scores; "
        "data 'sprites' bring their own"
    ),
    option("--json FILE: where to write the numbers"),
    SEED,
)

_declare(
    "transform",
    "write the codes of the rows of many files",
    "Encode files of any length: for each a file of the same name in OUT, with one row for each "
    "row. A folder of images or sounds becomes one file, with the names of the files. Finished "
    "files are skipped, so that the same command continues after an interruption. Under torchrun "
    "the files are divided among the processes.",
    RUN,
    option(
        "inputs INPUT+: files (.parquet, .npy, .npz, .csv, .tsv), patterns, or folders of files; "
        "images, sounds, or folders of these"
    ),
    option("out OUT: output folder"),
    option(
        "--format auto|parquet|npy: output format (default: auto, .npy for arrays, else Parquet)"
    ),
    option("--id COLUMN: table column that names its rows; short for --keep", dest="id_column"),
    RESIZE,
    UNKNOWN,
    *FILES,
    *TABLES,
    examples=(
        "isthmus transform RUN photos/ codes/",
        "isthmus transform RUN in/*.parquet out/",
        "torchrun --nproc-per-node 4 -m isthmus transform RUN in/*.parquet out/",
    ),
)

_declare(
    "detect",
    "score rows and flag anomalies",
    "Score the rows of data: the anomaly score of each row, its p-value and whether it is flagged. "
    "The threshold and the p-values come from a detector that is stored in the run, one for each "
    "--score, so that the same row gets the same verdict in every file. It is calibrated once: on "
    "the rows of --normal, which the run should not have been trained on, or else on the test rows "
    "of the run. Rows are named by their file, or by the column of --id. With many files, finished "
    "ones are skipped, and under torchrun the files are divided among the processes.",
    RUN,
    option(
        "data DATA+: dataset name or path, as for `isthmus fit`, or images or sounds; or many "
        "files, patterns and folders"
    ),
    *READING,
    RESIZE,
    option(
        f"--handle-unknown {'|'.join(HANDLE_UNKNOWN)}: categories of a table that were not seen "
        "during fit: an error, missing values, or anomalies, with the column named in the output",
        default="flag",
    ),
    option(
        "--normal DATA: name or path of normal rows that were not trained on: calibrate the run's "
        "detector on these (default: the stored one, else on the run's own test rows)"
    ),
    option("--score reconstruction|likelihood|nap|latent|paths|whitened: anomaly score"),
    option(
        "--contamination FRACTION: flag this fraction of the normal rows, above 0 and at most 0.5 "
        "(default: flag p-values of at most --false-alarm-rate)"
    ),
    option(
        "--false-alarm-rate FRACTION: fraction of normal rows that may be flagged", default=0.05
    ),
    option(
        "--out FILE: output table, .parquet or .csv, with one row for each row (default: "
        "scores.csv); for many files a folder, such as scores/"
    ),
    SEED,
    *FILES,
)

_declare(
    "impute",
    "fill in missing values: empty cells of a table, masked parts of images",
    "Fill in what is missing: the empty cells of a table, the NaN of an array, or the values under "
    "a mask. Observed values are written unchanged.",
    RUN,
    *DATA,
    RESIZE,
    UNKNOWN,
    option(
        "--mask FILE: what is missing: an .npy file of True and False, or an image that is white "
        "there; for one example or for each"
    ),
    option(
        "--method auto|decode|optimize|predict|sample: decode: encode and decode repeatedly; "
        "optimize: search for the best code; predict: one pass with the gaps masked as in "
        "training; sample: draws, which also give the uncertainty"
    ),
    option("--draws N: draws per value", default=100),
    option("--rows N: process only the first N rows"),
    option(
        "--out FILE: output file: .csv or .parquet for such tables, else .npz (default: "
        "NAME-imputed in the run's folder)"
    ),
    switch("--force: replace an existing --out"),
    SEED,
    examples=(
        "isthmus impute runs/table-vae table.csv",
        "isthmus impute runs/digits-vae digits --mask lower-half.npy",
    ),
)

_declare(
    "denoise",
    "remove noise from images and audio files",
    "Remove noise from images and audio files with a run that was fitted on clean ones. The size, "
    "sample rate, bit depth and channels of a file are kept; FLAC, Ogg and MP3 become WAV; the "
    "input is never replaced.",
    RUN,
    option("files FILE+: images (png, jpg, ...) and audio files (wav, flac, ogg, mp3)"),
    option(
        "--out PATH: output folder, or the name of the only output (default: NAME-denoised next to "
        "each file)"
    ),
    switch(
        "--patches: clean images of any size in overlapping patches, for runs fitted on patches"
    ),
    option("--overlap FRACTION: overlap of consecutive windows or patches", default=0.5),
    option(
        "--rate HZ: sample rate of the training data (default: the one recorded in the run)",
        type=whole_number(1),
    ),
    switch("--force: replace existing results"),
    examples=("isthmus denoise RUN scan.png", "isthmus denoise RUN *.wav --out clean/"),
)

_declare(
    "search",
    "find the examples most like a query, as a contact sheet",
    "Find the rows of a data set whose codes are nearest to those of a query. The first search "
    "encodes the data and stores the index in the run; later searches reuse it.",
    RUN,
    option(
        "query QUERY+: a row number (the row itself is not a result), test:NUMBER, an image, or an "
        ".npy file"
    ),
    *other_data(
        "data to search, as for `isthmus fit` (default: those indexed last, else those the run was "
        "fitted on)"
    ),
    option("-k --n-neighbors N: results", default=10),
    option(
        "--metric euclidean|cosine|scaled: distance between codes; scaled: each latent divided by "
        "its standard deviation"
    ),
    option(
        "--backend auto|exact|approximate: auto is exact up to 200,000 rows, beyond that "
        "approximate if faiss is installed"
    ),
    option("--out FILE: output image (default: RUN/search.png)"),
    examples=(
        "isthmus search runs/digits-vae 17",
        "isthmus search RUN test:3 test:9 --data mnist",
        "isthmus search RUN photo.jpg --data photos/",
    ),
)

_declare(
    "sample",
    "generate examples: from the prior, of a class, around an input",
    "Generate examples and draw them. Models without a prior draw codes from a mixture of normals "
    "fitted to the codes of the data; the mixture is stored in the run and used again for the same "
    "data, or if --data is not given.",
    RUN,
    option(
        "-n --n-samples N: number of examples (default: 64), or per class or input (default: 10)",
        type=whole_number(1),
    ),
    option(
        "--of CLASS+: classes to generate, or 'each'; for conditional models, or with --source "
        "mixture and labelled data"
    ),
    option(f"--around QUERY+: inputs to vary: {EXAMPLES}"),
    option("--spread X: how far to vary, in standard deviations of q(z|x)", default=1),
    option(
        "--source auto|prior|mixture: where codes come from (default: auto, the prior if there is "
        "one, else a mixture)"
    ),
    switch(
        "--mixture: short for --source mixture",
        action="store_const",
        dest="source",
        const="mixture",
    ),
    option("--modes N: components of the mixture", default=10),
    *other_data(
        "the data, as for `isthmus fit` (default: those of the stored mixture, else the run's own)"
    ),
    SEED,
    option("--out FILE: output image (default: RUN/samples.png), or for tables .csv or .parquet"),
    option("--save FILE: also write the examples: .npy, or for tables .csv, .parquet"),
    examples=(
        "isthmus sample RUN -n 64 --out sheet.png",
        "isthmus sample RUN --of 7",
        "isthmus sample RUN --of each -n 10",
        "isthmus sample RUN --around 17 --spread 2",
        "isthmus sample runs/table-vae -n 1000 --out rows.csv",
    ),
)

_declare(
    "traverse",
    "draw how an example changes along one latent, or towards a class",
    "Draw what each latent does: one row per latent, the most active first, from low to high. With "
    "--row, start from an example of the data; with --toward or --away, move along the difference "
    "of mean codes of a class; with --grid, decode the plane of two latents.",
    RUN,
    option(f"--row QUERY+: examples to start from: {EXAMPLES}"),
    option("--latents N+: latents to move along, counted from 1 (default: the ten most active)"),
    option("--toward CLASS: move toward this class; needs --row"),
    option("--away CLASS: move away from this class; needs --row"),
    option("--amount X: how far to move, in differences of means", default=1),
    option("--grid N: decode N x N codes of two latents", type=whole_number(2, MAX_STEPS)),
    option("--steps N: examples per row", type=whole_number(2, MAX_STEPS), default=9),
    *other_data("the data, as for `isthmus fit` (default: the run's own)"),
    option("--out FILE: output image (default: RUN/traverse.png)"),
    examples=(
        "isthmus traverse RUN",
        "isthmus traverse RUN --row 17 --latents 1 3",
        "isthmus traverse RUN --row 17 --toward 3 --away 5",
        "isthmus traverse RUN --grid 15",
    ),
)

_declare(
    "interpolate",
    "draw the path from one example to another through the latent space",
    "Draw the decoded path between the codes of examples: from the first to the second, from the "
    "second to the third, and so on.",
    RUN,
    option(f"query QUERY+: two or more examples: {EXAMPLES}"),
    switch(
        "--spherical: rotate about the origin instead of a straight line (for many latents under a "
        "normal prior)"
    ),
    option("--steps N: examples per path", type=whole_number(2, MAX_STEPS), default=9),
    *other_data("the data, as for `isthmus fit` (default: the run's own)"),
    option("--out FILE: output image (default: RUN/interpolate.png)"),
    examples=(
        "isthmus interpolate RUN 17 25",
        "isthmus interpolate RUN test:0 test:1 test:2 --spherical",
        "isthmus interpolate RUN cat.png dog.png --data photos/",
    ),
)

_declare(
    "map",
    "draw where data lie in the latent space, coloured by label",
    "Draw a map of the codes of data (of the test set if there is one). Two latents are drawn as "
    "they are, more by principal components or UMAP.",
    RUN,
    *DATA,
    RESIZE,
    option("--method auto|pca|umap: projection to two dimensions; umap needs isthmus[maps]"),
    option(
        "--beside RUN+: draw these runs next to the first one, with one draw from q(z|x) per "
        "example",
        type=run_folder,
    ),
    switch("--spread: draw q(z|x) of each example as an ellipse of one standard deviation"),
    option(
        "--rows QUERY+: draw q(z|x) of these instead, one panel per latent: row numbers, "
        "test:NUMBER, or files"
    ),
    option("--out FILE: output image (default: RUN/map.png)"),
    examples=(
        "isthmus map RUN digits --out map.png",
        "isthmus map RUN digits --spread",
        "isthmus map RUN-AE digits --beside RUN-KL RUN-VAE",
    ),
)

_declare(
    "compress",
    "write data as quantised codes, or decode them",
    "Encode data, round each component of the codes to a few bits over its range in the training "
    "rows, and write them; report the bytes they take on disk and the error. With --decompress, "
    "DATA is such a file, and its rows are decoded. Decoding needs the model, whose size is not "
    "counted.",
    RUN,
    option("data DATA: dataset name or path, as for `isthmus fit`; or a file of codes"),
    *READING,
    RESIZE,
    option("--bits N: bits per component, 1 to 16", default=8),
    option(
        "--coding auto|packed|zlib|lzma: how the numbers become bytes (default: auto, the shortest)"
    ),
    switch("--test: compress the test set, over the ranges of the training set"),
    switch("--decompress: decode a file of codes"),
    option(
        "--out FILE: output file of codes (.npz) or rows (.npy, for tables .csv); default: "
        "RUN/codes.npz, RUN/rows.npy"
    ),
    option("--picture FILE: output image (default: like --out, ending in .png)"),
    examples=(
        "isthmus compress RUN digits --out codes.npz --bits 6",
        "isthmus compress RUN codes.npz --decompress --out back.npy",
    ),
)

_declare(
    "studio",
    "explore a run in the browser: map, sliders, samples, imputation, training",
    "Explore a run in the browser, with its model behind every image. Runs that are being trained "
    "can be followed.",
    option(
        "runs RUN+: run folders written by `isthmus fit`, or a folder of runs: the first one's "
        "model is shown, and the training of all"
    ),
    *other_data("data to show, as for `isthmus fit` (default: those the run was fitted on)"),
    option("--rows N: maximum number of rows to show", type=whole_number(2), default=100_000),
    option(
        "--port N: port (default: 8631, or a free one if it is in use)",
        type=whole_number(0, 2**16 - 1),
    ),
    option(
        "--host: address to listen at (default: 127.0.0.1, for this machine only)",
        default="127.0.0.1",
    ),
    switch("--no-browser: print the address; do not open a browser"),
    examples=(
        "isthmus studio runs/digits-vae",
        "isthmus studio runs/",
        "isthmus studio RUN --data photos/ --port 9000",
    ),
)

_declare(
    "export",
    "write a run as a page that runs the model in the browser, as ONNX, or for torch",
    "Write a run as one page that needs neither Python nor a network connection: the model decodes "
    "in the browser, under the cursor. For large models give a folder instead of a .html file. Or "
    "write its networks as ONNX, for other programs, or for torch without isthmus.",
    RUN,
    option("--page PATH?: output page: a .html file or a folder (default: RUN/studio.html)"),
    option("--onnx DIR?: folder for encoder.onnx, decoder.onnx, scorer.onnx (default: RUN/onnx)"),
    option(
        "--torch DIR?: folder for encoder.pt2, decoder.pt2 and scorer.pt2, which torch.export.load "
        "reads (default: RUN/torch)"
    ),
    option("--opset N: ONNX operator set, 18 to 25 (default: that of torch, usually 20)"),
    *other_data("rows to show (default: those the run was fitted on)"),
    option("--rows N: maximum number of rows to show", type=whole_number(2), default=5000),
    switch("--no-data: show the model only, without any row of data"),
    examples=(
        "isthmus export RUN --page",
        "isthmus export RUN --page mine.html --rows 2000",
        "isthmus export RUN --page site/ --data table.csv",
        "isthmus export RUN --onnx --torch",
        "isthmus export RUN --onnx graphs/ --opset 18",
    ),
)

_declare(
    "completion",
    "print a script for completion by the Tab key",
    "Print a script that lets the Tab key complete commands, flags, their choices, names of data "
    "sets, files and folders. Write it where your shell reads such scripts.",
    option(f"shell SHELL: {', '.join(SHELLS)}", choices=SHELLS),
    examples=(
        "isthmus completion bash > ~/.local/share/bash-completion/completions/isthmus",
        'isthmus completion zsh > "${fpath[1]}/_isthmus"',
        "isthmus completion fish > ~/.config/fish/completions/isthmus.fish",
    ),
)

_declare(
    "push",
    "publish a run on the Hugging Face Hub, with a model card",
    "Publish a run on the Hugging Face Hub: its model, a model card and plots. No row of the data "
    "and no path of this machine is included, unless --examples or --with-report asks for rows. "
    "Log in by `hf auth login`, or set HF_TOKEN.",
    RUN,
    option("repo OWNER/NAME: repository; created if it does not exist"),
    option("--dry-run DIR: write to a new folder what would be published; send nothing"),
    switch("--private: make a new repository private", default=None),
    option("--license ID: license as the Hub names it, such as mit"),
    option("--message TEXT: commit message"),
    option("--revision BRANCH: branch (default: main)"),
    option("--card FILE: Markdown file to use as the model card"),
    switch("--with-report: include the run's report.html, which shows rows"),
    switch("--examples: show held-out rows with their reconstructions, and a map of their codes"),
    *other_data("data of --examples (default: those the run was fitted on)"),
    examples=(
        "isthmus push RUN me/digits-vae --dry-run preview/",
        "isthmus push RUN me/digits-vae --private",
        "isthmus push RUN me/digits-vae --license mit",
    ),
)
