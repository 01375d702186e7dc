/** What the page is told of a run; written by `isthmus.studio.bundle`. */

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
  /** Why there are no rows, where there are none. */
  missing: string | null;
  columns: Column[];
  scores: Score[];
  prior: Prior | null;
  runs: Run[];
  notes: string[];
  arrays: Record<string, ArraySpec>;
}

export interface Model {
  kind: string;
  n_components: number;
  likelihood: string;
  /** Classes of a conditional model as text; null where it is told nothing. */
  classes: string[] | null;
  /** Numbers of context beside x and z; the last stands for "unknown". */
  context_width: number;
  /** What the encoder's and the decoder's x is made of. */
  x_dtype: "float32" | "float64";
  /** Whether q(z|x) has a spread. */
  spread: boolean;
  /** Whether NaN in x are missing values. */
  missing: boolean;
}

export type ItemKind = "picture" | "signal" | "table" | "vector";

export interface Item {
  kind: ItemKind;
  shape: number[];
  /** Values shown as black and white, or the ends of an axis. */
  low: number;
  high: number;
  /** Samples a second, of sounds. */
  rate: number | null;
  /** Of tables and vectors, one for each feature. */
  features: Feature[] | null;
  /** The unit of errors: one number, or one for each feature. */
  scale: number[];
  /** What stands in a gap before anything is known: one number, or one for each feature. */
  blank: number[];
}

export interface Feature {
  name: string;
  /** Categories by number; null of numbers. */
  categories: string[] | null;
  /** A number that is only ever whole. */
  whole: boolean;
}

export interface Latents {
  /** Latents from the most active to the least. */
  order: number[];
  /** Variance of the mean of q(z|x) over the rows, or 1 where there are no rows. */
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
  /** Rows in the data, of which n are here. */
  of: number;
  /** What the rows are, in words: "test rows of digits". */
  source: string;
}

export interface Column {
  name: string;
  array: string;
  /** Classes by number; null of numbers. */
  categories: string[] | null;
  /** Which feature of a table it is; null of labels and scores. */
  feature: number | null;
}

export interface Score {
  name: string;
  array: string;
  unit: string;
}

/** Draws that were made beforehand: n for each class a prior is told, and of "unknown" last. */
export type Prior = { kind: "standard" } | { kind: "draws"; n: number; parts: number };

export interface Run {
  name: string;
  model: string;
  /** The name of the data. */
  data: string;
  history: Record<string, number>[];
  settings: Record<string, unknown>;
  held_out: Record<string, number>;
  best_epoch: number | null;
  /** Epochs planned, of a run that trains. */
  epochs: number | null;
  training: boolean;
}

export interface ArraySpec {
  dtype: "float32" | "float64" | "uint8" | "uint16" | "int32";
  shape: number[];
  /** Of numbers kept as bytes: value = start + step * byte. */
  start?: number;
  step?: number;
}
