/** The list of keys on the whole screen, in two columns if they fit. Pure. */
import { fitText, padText } from "../../../print/width.ts";
import { listHelp } from "../bindings.ts";
import type { WatchState } from "../state.ts";
import { bold, type DrawOptions } from "./style.ts";

/** The least width of two columns, and the gap between them. */
const minColumns = 78;
const gap = "  ";

/** The width of the names of keys. */
const labelWidth = 11;

/** Draws the help: a title, and as many lines as fit above the last line of the screen. */
export function drawHelp(state: WatchState, options: DrawOptions): string[] {
	const { columns, rows } = state.size;
	const isWide = columns >= minColumns;
	const width = isWide ? Math.floor((columns - gap.length) / 2) : columns;
	const [first = [], ...others] = listHelp(state).map(({ title, keys }) => [
		bold(padText(title, width), options),
		...keys.map(({ label, text }) =>
			padText(`  ${label.padEnd(labelWidth)}${text}`, width),
		),
		" ".repeat(width),
	]);
	const second = others.flat();
	const lines = isWide
		? Array.from(
				{ length: Math.max(first.length, second.length) },
				(_, at) => `${first[at] ?? " ".repeat(width)}${gap}${second[at] ?? ""}`,
			)
		: [...first, ...second];
	const height = Math.max(1, rows - 2);
	const from = Math.max(0, Math.min(state.help ?? 0, lines.length - height));
	const close =
		lines.length > height ? "↑↓ scroll, another key closes" : "any key closes";
	return [
		fitText(`The keys of bg watch (${close})`, columns),
		...lines.slice(from, from + height).map((line) => line.trimEnd()),
	];
}
