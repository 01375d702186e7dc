/** Two signals over each other. */

import { useEffect, useRef } from "preact/hooks";
import { drawSignal } from "../draw";
import { cssColour, useDark, useWidth } from "../scheme";
import { manifest } from "../state";

interface Props {
  /** Drawn pale, behind. */
  behind: ArrayLike<number> | null;
  x: ArrayLike<number> | null;
  label: string;
}

export function Overlay({ behind, x, label }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [dark, width] = [useDark(), useWidth(canvas)];
  useEffect(() => {
    if (!behind || !x || !canvas.current) return;
    const { item } = manifest.value;
    drawSignal(canvas.current, item, behind, cssColour("--soft"));
    drawSignal(canvas.current, item, x, cssColour("--accent"), undefined, true);
  }, [behind, x, dark, width]);
  return <canvas ref={canvas} class="wave" role="img" aria-label={label} />;
}
