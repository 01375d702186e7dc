/** The description of a run, written by `isthmus.studio.bundle`. */

export interface Manifest {
  format: 1;
  version: string;
  name: string;
  title: string;
  model: Model;
  item: Item;
  latents: Latents;
  map: MapPlane | null;
  rows: Rows | null;
  /** Why there are no rows; null if there are. */
  no_data_reason: string | null;
  columns: Column[];
  scores: Score[];
  prior: Prior | null;
  runs: Run[];
  notes: string[];
  /** What the checks of the fitted model found; null if it was not checked. */
  findings: Findings | null;
  arrays: Record<string, ArraySpec>;
}

export interface Model {
  kind: string;
  n_components: number;
  likelihood: string;
  /** Class names of a conditional model; null if it is not conditional on classes. */
  classes: string[] | null;
  /** Width of the condition input; its last position means "unknown". */
  condition_width: number;
  /** Data type of the encoder's input and the decoder's output. */
  x_dtype: "float32" | "float64";
  /** Whether q(z|x) has a standard deviation. */
  has_std: boolean;
  /** Whether the encoder accepts NaN as missing values. */
  accepts_nan: boolean;
}

export type ItemKind = "image" | "signal" | "table" | "vector";

export interface Item {
  kind: ItemKind;
  shape: number[];
  /** Values shown as black and white, or the limits of an axis. */
  low: number;
  high: number;
  /** Sample rate of audio, in Hz. */
  rate: number | null;
  /** Features of tables and vectors; null otherwise. */
  features: Feature[] | null;
  /** Standard deviation used to scale errors: one number, or one per feature. */
  scale: number[];
  /** Initial value of missing entries: one number, or one per feature. */
  fill: number[];
}

export interface Feature {
  name: string;
  /** Category names by index; null for numeric features. */
  categories: string[] | null;
  /** Whether all values are integers. */
  whole: boolean;
}

export interface Latents {
  /** Latents from the most to the least active. */
  order: number[];
  /** Variance of the mean of q(z|x) over the rows; 1 without rows. */
  activity: number[];
  mean: number[];
  std: number[];
  low: number[];
  high: number[];
}

export interface MapPlane {
  kind: "codes" | "pca";
  axes: [string, string];
  mean: number[];
  /** Two rows of n_components numbers. */
  components: number[][];
}

export interface Rows {
  n: number;
  /** Number of rows in the data, of which n are included. */
  total: number;
  /** Description of the rows: "test rows of digits". */
  source: string;
}

export interface Column {
  name: string;
  array: string;
  /** Class names by index; null for numeric columns. */
  categories: string[] | null;
  /** Index of the table feature; null for labels and scores. */
  feature: number | null;
}

export interface Score {
  name: string;
  array: string;
  unit: string;
}

/** Precomputed draws: n for each class of a conditional prior, followed by n for "unknown". */
export type Prior = { kind: "standard" } | { kind: "draws"; n: number; parts: number };

export interface Run {
  name: string;
  model: string;
  /** Name of the dataset. */
  data: string;
  history: Record<string, number>[];
  settings: Record<string, unknown>;
  held_out: Record<string, number>;
  best_epoch: number | null;
  /** Maximum number of epochs of a run in training. */
  epochs: number | null;
  training: boolean;
}

export interface Findings {
  /** The most important findings, at most three. */
  first: Finding[];
  others: Finding[];
}

export interface Finding {
  name: string;
  severity: "failure" | "warning" | "note";
  /** One sentence. */
  verdict: string;
  /** A number with its threshold. */
  evidence: string;
  /** What to change; empty if nothing is known to help. */
  remedy: string;
}

export interface ArraySpec {
  dtype: "float32" | "float64" | "uint8" | "uint16" | "int32";
  shape: number[];
  /** For values quantized to bytes: value = start + step * byte. */
  start?: number;
  step?: number;
}
