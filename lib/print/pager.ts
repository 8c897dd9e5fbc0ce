/**
 * Text for a person: through `$PAGER` if it is longer than the screen. A program without arguments is started
 * directly; anything else (`less -R`) is a command line for `sh`.
 */
import { readTerminalSize } from "./terminal.ts";
import { writeAll } from "./text.ts";

/** The user's pager; undefined or empty without one. */
export const findPager = () => process.env.PAGER?.trim();

/**
 * Shows text, of which no more is read than is shown. stdout must be a terminal.
 * @returns false if the reader is gone.
 */
export async function showText(
	pieces: Iterable<string>,
	pager = findPager(),
): Promise<boolean> {
	const iterator = pieces[Symbol.iterator]();
	let head = "";
	while (fitsScreen(head)) {
		const { value, done } = iterator.next();
		if (done) return writeAll(1, head);
		head += value;
	}
	const all = continueWith(head, iterator);
	if (pager && (await pipeTo(pager, all))) return true;
	for (const piece of all) if (!writeAll(1, piece)) return false;
	return true;
}

// --- internal ---

/** Whether the text fits above the prompt. */
function fitsScreen(text: string): boolean {
	const { rows, columns } = readTerminalSize();
	// More lines than the screen has are not split any further.
	const lines = text.split("\n", rows + 1);
	const heights = lines.map((line) => Math.ceil(line.length / columns) || 1);
	return heights.reduce((sum, height) => sum + height, 0) <= rows;
}

function* continueWith(head: string, rest: Iterator<string>) {
	yield head;
	for (let next = rest.next(); !next.done; next = rest.next()) yield next.value;
}

/** Writes to a pager. @returns false if it cannot be started; then nothing was read. */
async function pipeTo(
	pager: string,
	pieces: Iterable<string>,
): Promise<boolean> {
	const { spawn } = process.getBuiltinModule("node:child_process");
	const isProgram = /^[\w@%+=:,./-]+$/.test(pager);
	const [file, args] = isProgram ? [pager, []] : ["/bin/sh", ["-c", pager]];
	const child = spawn(file, args, { stdio: ["pipe", "inherit", "inherit"] });
	// Ctrl-C is for the pager.
	const ignore = () => {};
	process.on("SIGINT", ignore);
	try {
		const started = await new Promise<boolean>((resolve) => {
			child.once("spawn", () => resolve(true));
			child.once("error", () => resolve(false));
		});
		if (!started) return false;
		const closed = new Promise<void>((resolve) => {
			child.once("close", () => resolve());
		});
		let isOpen = true;
		// A pager that is left early closes its input.
		const stop = () => {
			isOpen = false;
		};
		child.stdin.on("error", stop).on("close", stop);
		void closed.then(stop);
		for (const piece of pieces) {
			if (!isOpen) break;
			if (child.stdin.write(piece)) continue;
			const drained = new Promise<void>((resolve) => {
				child.stdin.once("drain", resolve);
			});
			await Promise.race([drained, closed]);
		}
		child.stdin.end();
		await closed;
		return true;
	} finally {
		process.off("SIGINT", ignore);
	}
}
