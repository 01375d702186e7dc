/** Two signals drawn on the same axis. */

import { useEffect, useRef } from "preact/hooks";
import { drawSignal } from "../draw";
import { cssColour, useDark, useWidth } from "../theme";
import { manifest } from "../state";

interface Props {
  /** Drawn in grey behind `x`. */
  behind: ArrayLike<number> | null;
  x: ArrayLike<number> | null;
  label: string;
}

export function SignalOverlay({ behind, x, label }: Props) {
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
