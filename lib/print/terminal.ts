/**
 * The terminal as a device: its size, a line of progress, and the whole screen. The screen is restored
 * at the end, on an error, on a signal, and while the job is stopped. Only SIGKILL leaves it changed.
 */
import { constants } from "node:os";
import { raiseSignal, suspendJob } from "../process/signals.ts";
import { toLine, writeAll } from "./text.ts";
import { fitText } from "./width.ts";

export type TerminalSize = { columns: number; rows: number };

/** The current size of the terminal; 80 × 24 if it is unknown. */
export function readTerminalSize(): TerminalSize {
	const { stdout, stderr } = process;
	const device = [stdout, stderr].find(({ isTTY }) => isTTY);
	const [columns, rows] = device?.getWindowSize() ?? [];
	return { columns: columns || 80, rows: rows || 24 };
}

// --- signals ---

const endSignals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Catches the signals that would end this process, so that it can clean up before.
 * @param ignoresInterrupt whether Ctrl-C is now for another program in the terminal.
 * @returns `signal`: resolves with the first one. `ignore`: stops listening.
 */
export function catchEndSignals(ignoresInterrupt = () => false) {
	let ignore = () => {};
	const signal = new Promise<(typeof endSignals)[number]>((resolve) => {
		const listen = (name: NodeJS.Signals) => {
			if (name !== "SIGINT" || !ignoresInterrupt())
				resolve(name as (typeof endSignals)[number]);
		};
		for (const name of endSignals) process.on(name, listen);
		ignore = () => {
			for (const name of endSignals) process.off(name, listen);
		};
	});
	return { signal, ignore };
}

/**
 * Ends this process by a signal it has caught, so that its parent sees the signal.
 * @returns the corresponding exit code, if the runtime does not deliver the signal at once.
 */
export function endBySignal(
	{ ignore }: { ignore: () => void },
	name: NodeJS.Signals,
) {
	ignore();
	raiseSignal(name);
	return 128 + constants.signals[name];
}

// --- the line of progress ---

/** The least time between two redraws, in ms. */
const minRedrawMs = 50;

/** What a terminal shows of Ctrl-C. If it wrapped the line of progress, that could not be erased. */
const interruptEcho = "^C";

/** Opens a line of progress on stderr, which must be a terminal that is not dumb. */
export function openStatusLine() {
	let shownAt = Number.NEGATIVE_INFINITY;
	let isShown = false;
	const clear = () => {
		if (isShown) writeAll(2, `\r${eraseToEnd}`);
		isShown = false;
	};
	return {
		show: (text: string) => {
			if (isShown && performance.now() - shownAt < minRedrawMs) return;
			const width = readTerminalSize().columns - 1 - interruptEcho.length;
			const line = fitText(toLine(text, 500), width);
			writeAll(2, `\r${line}${eraseToEnd}`);
			shownAt = performance.now();
			isShown = true;
		},
		clear,
		/** Does work. After a signal, clears the line and returns an exit code. */
		during: async <T>(work: () => Promise<T>): Promise<T | number> => {
			const interrupt = catchEndSignals();
			try {
				const first = await Promise.race([
					work().then((value) => ({ value })),
					interrupt.signal,
				]);
				clear();
				return typeof first === "string"
					? endBySignal(interrupt, first)
					: first.value;
			} finally {
				interrupt.ignore();
			}
		},
	};
}

// --- the whole screen ---

export type ScreenListener = {
	/** Called with what is typed, unchanged. */
	onInput: (bytes: Uint8Array) => void;
	/** Called if all must be drawn again: the size changed or the job continues. */
	onChange: () => void;
	/** Called at the end of input. */
	onEnd: () => void;
};

/** What is drawn: lines from the top, and the cursor, counted from 0; without one it is hidden. */
export type Frame = {
	lines: readonly string[];
	cursor?: { row: number; column: number };
};

// Control sequences of xterm. Every current terminal obeys them, or ignores them (2026, 2004).
const eraseToEnd = "\u001b[K";
const moveTo = (row: number, column: number) =>
	`\u001b[${row + 1};${column + 1}H`;
const showCursor = "\u001b[?25h";
const hideCursor = "\u001b[?25l";
const takeScreen = `\u001b[?1049h\u001b[?2004h${hideCursor}\u001b[?7l`;
const giveScreen = `\u001b[?2026l\u001b[m\u001b[?7h${showCursor}\u001b[?2004l\u001b[?1049l`;
const beginFrame = "\u001b[?2026h";
const endFrame = "\u001b[?2026l";

/** Takes the whole screen. A frame is one write, of the lines that differ from those of the frame before. */
export function openScreen(listener: ScreenListener) {
	const { stdin, stdout } = process;
	let isOpen = false;
	let isRaw = false;
	let isLent = false;
	let isClosed = false;
	let drawn: Frame | undefined;
	/** Gets what is typed, in place of the listener. */
	let onKey: (() => void) | undefined;
	const setRaw = (wanted: boolean) => {
		isRaw = wanted;
		stdin.setRawMode(wanted);
	};
	const enter = () => {
		if (isOpen || isClosed) return;
		isOpen = true;
		drawn = undefined;
		setRaw(true);
		writeAll(1, takeScreen);
	};
	const leave = () => {
		// Errors of a terminal that is gone are ignored.
		if (isOpen) ignoreErrors(() => writeAll(1, giveScreen));
		isOpen = false;
		if (isRaw) ignoreErrors(() => setRaw(false));
	};
	const change = () => {
		drawn = undefined;
		listener.onChange();
	};
	const wake = () => {
		if (isLent) return;
		leave();
		enter();
		change();
	};
	const onData = (bytes: Uint8Array) =>
		onKey ? onKey() : listener.onInput(bytes);
	process.on("exit", leave).on("SIGCONT", wake);
	stdout.on("resize", change);
	stdin.on("data", onData).on("end", listener.onEnd);
	stdin.on("error", listener.onEnd);
	enter();
	/** Waits for a key, outside of the screen. */
	const waitForKey = async () => {
		writeAll(1, "\n[press a key to return to bg watch]");
		setRaw(true);
		await new Promise<void>((resolve) => {
			onKey = resolve;
		});
		onKey = undefined;
		writeAll(1, "\n");
	};
	return {
		/** Draws a frame: at most as many lines as the terminal has rows, none wider than the terminal. */
		draw: (frame: Frame) => {
			if (!isOpen) return;
			const changes = formatChanges(frame, drawn);
			drawn = frame;
			if (changes) writeAll(1, beginFrame + changes + endFrame);
		},
		/** Whether another program has the terminal. */
		isLent: () => isLent,
		/** Draws all lines again. */
		redraw: change,
		/** Restores the terminal, stops this job, and takes the screen again when it continues. */
		suspend: () => {
			leave();
			suspendJob();
			// Also if there is no shell: then the job was not stopped.
			enter();
			change();
		},
		/**
		 * Gives the terminal to another program while `run` does its work.
		 * @param run returns whether what is on the screen was not read yet: then a key is waited for.
		 */
		lend: async (run: () => Promise<boolean>) => {
			isLent = true;
			leave();
			stdin.pause();
			try {
				const isUnread = await run();
				stdin.resume();
				if (isUnread) await waitForKey();
			} finally {
				isLent = false;
				if (!isClosed) stdin.resume();
				enter();
				change();
			}
		},
		/** Restores the terminal. */
		close: () => {
			isClosed = true;
			leave();
			process.off("exit", leave).off("SIGCONT", wake);
			stdout.off("resize", change);
			stdin.off("data", onData).off("end", listener.onEnd);
			stdin.off("error", listener.onEnd).pause();
		},
	};
}

// --- internal ---

/** What turns a drawn frame into another one; "" if they are equal. Without `before`, all is drawn. */
function formatChanges(
	{ lines, cursor }: Frame,
	before: Frame | undefined,
): string {
	const count = Math.max(lines.length, before?.lines.length ?? 0);
	let changes = "";
	for (let row = 0; row < count; row++) {
		const line = lines[row] ?? "";
		// Erased before it is written: after a full line the cursor is still on its last character.
		if (!before || line !== before.lines[row])
			changes += `${moveTo(row, 0)}${eraseToEnd}${line}`;
	}
	const at = cursor && moveTo(cursor.row, cursor.column);
	const isAt =
		before?.cursor && moveTo(before.cursor.row, before.cursor.column);
	if (!changes && before && at === isAt) return "";
	return `${changes}${at ? at + showCursor : hideCursor}`;
}

function ignoreErrors(act: () => unknown): void {
	try {
		act();
	} catch {}
}
