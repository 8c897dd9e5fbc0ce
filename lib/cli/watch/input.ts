/** What is typed: bytes of the terminal as keys, and the editing of a line. Pure. */

/** A key by its name (`a`, `up`, `ctrl-u`), or pasted text. */
export type Typed = { key: string } | { paste: string };

/** A line that is being typed: the text before and after the cursor. */
export type Line = { before: string; after: string };

const esc = "\u001b";
const pasteStart = `${esc}[200~`;
const pasteEnd = `${esc}[201~`;

/** A control sequence, a key of the keypad, or one character. */
const keyPattern = new RegExp(
	`${esc}\\[[0-?]*[ -/]*[@-~]|${esc}O[A-Za-z]|[\\s\\S]`,
	"gu",
);
/** The beginning of a sequence whose end has not arrived. A lone escape is a key. */
const tornPattern = new RegExp(`${esc}(?:\\[[0-?]*[ -/]*|O)$`);

/** The keys of sequences: by the last letter, or by the number before `~`. */
const letterKeys: Record<string, string> = {
	A: "up",
	B: "down",
	C: "right",
	D: "left",
	H: "home",
	F: "end",
	M: "enter",
};
const numberKeys: Record<string, string> = {
	1: "home",
	7: "home",
	4: "end",
	8: "end",
	3: "delete",
	5: "pageup",
	6: "pagedown",
};
const characterKeys: Record<string, string> = {
	"\r": "enter",
	"\n": "enter",
	"\t": "tab",
	"\b": "backspace",
	"\u007f": "backspace",
	[esc]: "escape",
	" ": "space",
};

/** Reads keys from the bytes that a terminal sends, in whatever parts they arrive. */
export class KeyReader {
	readonly #decoder = new TextDecoder();
	#left = "";
	/** What was pasted up to now; undefined outside of a paste. */
	#pasted: string | undefined;

	read(bytes: Uint8Array): Typed[] {
		let text = this.#left + this.#decoder.decode(bytes, { stream: true });
		this.#left = "";
		const typed: Typed[] = [];
		while (text) {
			if (this.#pasted !== undefined) {
				const end = text.indexOf(pasteEnd);
				if (end < 0) {
					// The mark of the end may be torn.
					const torn = text.lastIndexOf(esc);
					const isTorn = torn >= 0 && pasteEnd.startsWith(text.slice(torn));
					this.#pasted += isTorn ? text.slice(0, torn) : text;
					this.#left = isTorn ? text.slice(torn) : "";
					return typed;
				}
				typed.push({ paste: this.#pasted + text.slice(0, end) });
				this.#pasted = undefined;
				text = text.slice(end + pasteEnd.length);
				continue;
			}
			const start = text.indexOf(pasteStart);
			let keys = start < 0 ? text : text.slice(0, start);
			if (start < 0) {
				this.#left = tornPattern.exec(keys)?.[0] ?? "";
				keys = keys.slice(0, keys.length - this.#left.length);
				text = "";
			} else {
				this.#pasted = "";
				text = text.slice(start + pasteStart.length);
			}
			for (const each of keys.match(keyPattern) ?? []) {
				const key = nameKey(each);
				if (key) typed.push({ key });
			}
		}
		return typed;
	}
}

export const emptyLine: Line = { before: "", after: "" };

/** Changes a line by a key. A key that does not edit leaves it. */
export function editLine(line: Line, key: string): Line {
	const { before, after } = line;
	switch (key) {
		case "space":
			return { before: `${before} `, after };
		case "backspace":
			return {
				before: before.slice(0, -lastCharacter(before).length || undefined),
				after,
			};
		case "delete":
			return { before, after: after.slice(firstCharacter(after).length) };
		case "ctrl-u":
			return { before: "", after };
		case "ctrl-k":
			return { before, after: "" };
		case "ctrl-w":
			return { before: before.replace(/\S+\s*$|\s+$/, ""), after };
		case "home":
		case "ctrl-a":
			return { before: "", after: before + after };
		case "end":
		case "ctrl-e":
			return { before: before + after, after: "" };
		case "left":
			return moveCursor(line, -lastCharacter(before).length);
		case "right":
			return moveCursor(line, firstCharacter(after).length);
	}
	// The other names have more than one character.
	return [...key].length === 1 ? { before: before + key, after } : line;
}

/** Inserts pasted text. Control characters other than newlines and tabs are left out. */
export function pasteText({ before, after }: Line, text: string): Line {
	const clean = text.replace(/\r\n?/g, "\n").replace(/(?![\n\t])\p{Cc}/gu, "");
	return { before: before + clean, after };
}

// --- internal ---

/** The name of a key; undefined for a sequence that is no known key. */
function nameKey(sequence: string): string | undefined {
	if (sequence.length > 1 && sequence.startsWith(esc)) {
		const last = sequence.at(-1) ?? "";
		// `ESC [ 5 ; 2 ~`: the second number tells which modifiers are down.
		const [, number = ""] = /^.\[(\d*)/.exec(sequence) ?? [];
		return last === "~" ? numberKeys[number] : letterKeys[last];
	}
	const named = characterKeys[sequence];
	if (named) return named;
	const code = sequence.codePointAt(0) ?? 0;
	if (code < 0x20) return `ctrl-${String.fromCharCode(code + 0x60)}`;
	return /\p{Cc}/u.test(sequence) ? undefined : sequence;
}

let segmenter: Intl.Segmenter | undefined;

/** The characters of a text as a reader counts them: an emoji with its modifiers is one. */
function splitCharacters(text: string): string[] {
	segmenter ??= new Intl.Segmenter();
	return [...segmenter.segment(text)].map(({ segment }) => segment);
}

const firstCharacter = (text: string) => splitCharacters(text)[0] ?? "";
const lastCharacter = (text: string) => splitCharacters(text).at(-1) ?? "";

function moveCursor({ before, after }: Line, by: number): Line {
	const text = before + after;
	const at = before.length + by;
	return { before: text.slice(0, at), after: text.slice(at) };
}
