/**
 * JSON with comments as a text that is edited: what is added looks like what stands beside it, and
 * taking it away again restores every byte. Pure.
 *
 * Droid 0.215.0 was measured to read comments, and to pass over a whole file, without a word, for a
 * comma behind the last member or a byte order mark: such a file counts as broken.
 */
import {
	type Node,
	type ParseError,
	parseTree,
	printParseErrorCode,
} from "jsonc-parser/lib/esm/main.js";
import { refused } from "../error.ts";

export type { Node };

/** Text that went, and what came in its place. */
export type TextEdit = { removed: string; added: string };

/** A text, and the edits that led to it. */
export type EditedText = { text: string; edits: TextEdit[] };

/** The object a file holds. @throws BgError (refused) where it is broken. */
export function parseObject(text: string, path: string): Node {
	const errors: ParseError[] = [];
	const root = parseTree(text, errors);
	const [first] = errors;
	if (text.startsWith("\uFEFF"))
		throw brokenFileError(path, "it begins with a byte order mark");
	if (first) {
		const line = text.slice(0, first.offset).split("\n").length;
		throw brokenFileError(
			path,
			`line ${line}, ${printParseErrorCode(first.error)}`,
		);
	}
	if (root?.type !== "object")
		throw brokenFileError(path, "it is no JSON object");
	return root;
}

/** A file droid cannot read. */
export const brokenFileError = (path: string, problem: string) =>
	refused(
		`${path} is broken, droid cannot read it (${problem}): mend it first; nothing was changed`,
	);

/** What is in an object or a list; nothing in any other value. */
export const listMembers = (node: Node | undefined): Node[] =>
	node?.children ?? [];

/** The name of an object's member. */
export const readKey = (property: Node): string =>
	String(property.children?.[0]?.value);

/** The value that counts: of two with one name it is the last. */
export const findValue = (
	node: Node | undefined,
	key: string,
): Node | undefined =>
	node?.type === "object"
		? listMembers(node).findLast((each) => readKey(each) === key)?.children?.[1]
		: undefined;

export const nodeEnd = ({ offset, length }: Node): number => offset + length;

/** Adds a member to an object or a list, in the way its last one stands there. */
export function addMember(
	edited: EditedText,
	container: Node,
	label: string,
	value: unknown,
): void {
	const { text } = edited;
	const end = /\r\n/.test(text) ? "\r\n" : "\n";
	const step = /\n([ \t]+)\S/.exec(text)?.[1] ?? "  ";
	const onLines = (indent: string) =>
		`${end}${indent}${label}${JSON.stringify(value, null, step).replaceAll("\n", end + indent)}`;
	const tight = JSON.stringify(value);
	const last = listMembers(container).at(-1);
	if (!last) {
		const outer = readIndent(text, container.offset);
		const added =
			container.type === "array"
				? tight
				: `${onLines(outer + step)}${end}${outer}`;
		replaceText(edited, container.offset + 1, container.offset + 1, added);
		return;
	}
	// A remark behind the last member stays behind it.
	const remark = /^(?:[ \t]*\/\*[^\r\n]*?\*\/)*(?:[ \t]*\/\/[^\r\n]*)?/;
	const [remarkText = ""] = remark.exec(text.slice(nodeEnd(last))) ?? [];
	const before = /\n([ \t]*)$/.exec(text.slice(0, last.offset));
	const asLine = before || remarkText.includes("//");
	const spaced = label ? `${label}[ ${tight.slice(1, -1)} ]` : tight;
	const added = asLine ? onLines(before?.[1] ?? step) : ` ${spaced}`;
	const at = nodeEnd(last) + remarkText.length;
	replaceText(edited, at, at, added);
	replaceText(edited, nodeEnd(last), nodeEnd(last), ",");
}

/** Takes a member away with its comma and the room before it: what addMember added. */
export function removeMember(
	edited: EditedText,
	container: Node,
	index: number,
): void {
	const { text } = edited;
	const members = listMembers(container);
	const [previous, member, next] = [index - 1, index, index + 1].map(
		(at) => members[at],
	);
	if (!member) return;
	const space =
		/(?:\r?\n)?[ \t]*$/.exec(text.slice(0, member.offset))?.[0] ?? "";
	const from = member.offset - space.length;
	if (!previous && next) removeComma(edited, nodeEnd(member));
	const outer = readIndent(text, container.offset);
	const behind = new RegExp(`^\r?\n${outer}`).exec(text.slice(nodeEnd(member)));
	const isAlone = !previous && !next;
	const tail = isAlone && space.includes("\n") ? (behind?.[0].length ?? 0) : 0;
	replaceText(edited, from, nodeEnd(member) + tail, "");
	if (previous) removeComma(edited, nodeEnd(previous));
}

/** Puts text in the place of other text. */
export function replaceText(
	edited: EditedText,
	from: number,
	to: number,
	added: string,
): void {
	const { text, edits } = edited;
	edits.push({ removed: text.slice(from, to), added });
	edited.text = text.slice(0, from) + added + text.slice(to);
}

// --- internal ---

/** The first comma behind a place that stands in no comment. */
function removeComma(edited: EditedText, behind: number): void {
	const passed = /^(?:\s|\/\/[^\r\n]*|\/\*[\s\S]*?\*\/)*/;
	const [skipped = ""] = passed.exec(edited.text.slice(behind)) ?? [];
	const at = behind + skipped.length;
	replaceText(edited, at, at + 1, "");
}

/** What the line begins with in which a place is. */
const readIndent = (text: string, at: number): string =>
	/(?:^|\n)([ \t]*)[^\n]*$/.exec(text.slice(0, at))?.[1] ?? "";
