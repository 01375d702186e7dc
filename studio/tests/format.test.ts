import { describe, expect, it } from "vitest";
import { formatCell, formatCount, csv, formatNumber, formatPercent } from "../src/format";

describe("number", () => {
  it.each([
    [0, "0"],
    [-0, "0"],
    [1, "1"],
    [0.01234, "0.0123"],
    [-2.5, "−2.5"],
    [3.14159, "3.14"],
    [123.456, "123"],
    [2024, "2024"],
    [12345.6, "12,346"],
    [0.0001, "1.00e−4"],
    [-1234567, "−1.23e+6"],
    [NaN, "–"],
    [Infinity, "∞"],
    [-Infinity, "−∞"],
  ])("writes %d as %s", (value, text) => expect(formatNumber(value)).toBe(text));

  it("keeps more digits on request", () => expect(formatNumber(21.23449, 4)).toBe("21.23"));
});

it("separates thousands in counts", () => expect(formatCount(1797)).toBe("1,797"));

it("writes shares as percent", () => expect(formatPercent(0.123)).toBe("12.3%"));

describe("cell", () => {
  const plain = { name: "age", categories: null, whole: false };
  it.each([
    [plain, 3.14159, "3.142"],
    [{ ...plain, whole: true }, 41.7, "42"],
    [{ ...plain, categories: ["red", "<b>green</b>"] }, 0.8, "<b>green</b>"],
    [{ ...plain, categories: ["red"] }, 4, "?"],
    [{ ...plain, categories: ["red"] }, NaN, "missing"],
    [plain, undefined, "…"],
  ])("%# formats a value", (feature, value, text) =>
    expect(formatCell(feature, value)).toBe(text),
  );
});

describe("csv", () => {
  it("ends lines with CRLF", () => expect(csv(["a", "b"], [[1, 2.5]])).toBe("a,b\r\n1,2.5\r\n"));

  it("quotes commas, quotes and line ends", () =>
    expect(csv(["x"], [["a,b"], ['say "no"'], ["two\nlines"]])).toBe(
      'x\r\n"a,b"\r\n"say ""no"""\r\n"two\nlines"\r\n',
    ));

  it.each(["=1+1", "+A1", "-2+3", "@SUM(A1)", "\tx"])("escapes the formula %j", (text) =>
    expect(csv(["x"], [[text]])).toBe(`x\r\n'${text}\r\n`),
  );

  it("escapes and quotes formulas in column names", () =>
    expect(csv(['=HYPERLINK("a","b")'], [])).toBe('"\'=HYPERLINK(""a"",""b"")"\r\n'));

  it("keeps negative numbers, also as class names", () =>
    expect(csv(["x", "class"], [[-1, "-1"]])).toBe("x,class\r\n-1,-1\r\n"));
});
