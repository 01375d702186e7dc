/** What a drawing on a canvas must follow by itself: the colours and the width of the page. */

import type { RefObject } from "preact";
import { useEffect, useState } from "preact/hooks";

const asked = "(prefers-color-scheme: dark)";

/** Whether the page is dark now. */
export function isDark(): boolean {
  return window.matchMedia(asked).matches;
}

/** Whether the page is dark; changes with the system. */
export function useDark(): boolean {
  const [dark, setDark] = useState(isDark);
  useEffect(() => {
    const query = window.matchMedia(asked);
    const follow = () => setDark(query.matches);
    query.addEventListener("change", follow);
    return () => query.removeEventListener("change", follow);
  }, []);
  return dark;
}

/** A colour of the style sheet, such as "--accent", as it is now. */
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
