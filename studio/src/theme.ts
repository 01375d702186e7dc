/** Colour scheme and element widths, for drawing on a canvas. */

import type { RefObject } from "preact";
import { useEffect, useState } from "preact/hooks";

const DARK = "(prefers-color-scheme: dark)";

/** Whether the dark colour scheme is active. */
export function isDark(): boolean {
  return window.matchMedia(DARK).matches;
}

/** Whether the dark colour scheme is active; updates with the system setting. */
export function useDark(): boolean {
  const [dark, setDark] = useState(isDark);
  useEffect(() => {
    const query = window.matchMedia(DARK);
    const follow = () => setDark(query.matches);
    query.addEventListener("change", follow);
    return () => query.removeEventListener("change", follow);
  }, []);
  return dark;
}

/** The current value of a style sheet colour such as "--accent". */
export function cssColour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** The width of an element in CSS pixels; 0 until it is laid out. */
export function useWidth(element: RefObject<HTMLElement | null>): number {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    if (!element.current) return;
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry.contentRect.width)));
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return width;
}
