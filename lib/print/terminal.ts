/**
 * The terminal as a device: its size, one line of progress, and the whole of it for a while. Whoever
 * takes it gives it back as it was: at the end, at a fault, at a signal, and while its job is
 * stopped. Only SIGKILL leaves it as it is.
 */
import { constants } from "node:os";
import { raiseSignal, suspendJob } from "../process/signals.ts";
import { toLine, writeAll } from "./text.ts";
import { fitText } from "./width.ts";

export type TerminalSize = { columns: number; rows: number };

/** The size of the terminal as of now; where it does not know, the usual one. */
export function readTerminalSize(): TerminalSize {
	const { stdout, stderr } = process;
	const device = [stdout, stderr].find(({ isTTY }) => isTTY);
	const [columns, rows] = device?.getWindowSize() ?? [];
	return { columns: columns || 80, rows: rows || 24 };
}

// --- signals ---

const endSignals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export type Interrupt = {
	/** Comes with the first signal that asks to end. */
	signal: Promise<(typeof endSignals)[number]>;
	ignore: () => void;
};

/** Listens to what would end this process at once, so that it can tidy up before. */
export function catchEndSignals(): Interrupt {
	let ignore = () => {};
	const signal = new Promise<(typeof endSignals)[number]>((resolve) => {
		const listeners = endSignals.map(
			(name) => [name, () => resolve(name)] as const,
		);
		for (const [name, listener] of listeners) process.on(name, listener);
		ignore = () => {
			for (const [name, listener] of listeners) process.off(name, listener);
		};
	});
	return { signal, ignore };
}

/**
 * Ends as the signal would have done, had nobody listened: who waits for this process sees that.
 * @returns the exit code to the same effect, where the runtime still holds the signal back.
 */
export function endBySignal(
	{ ignore }: Interrupt,
	name: (typeof endSignals)[number],
) {
	ignore();
	raiseSignal(name);
	return 128 + constants.signals[name];
}

// --- one line of progress ---

export type StatusLine = {
	show: (text: string) => void;
	clear: () => void;
	/** Does work; at a signal the line goes first. An exit code where the signal came. */
	during: <T>(work: () => Promise<T>) => Promise<T | number>;
};

/** Not more often than this, in ms: nobody reads faster. */
const minRedrawMs = 50;

/** A line on stderr, which must be a terminal that is not dumb, to say how far something is. */
export function openStatusLine(): StatusLine {
	let shownAt = Number.NEGATIVE_INFINITY;
	let isShown = false;
	const clear = () => {
		if (isShown) writeAll(2, `\r${eraseToEnd}`);
		isShown = false;
	};
	return {
		show: (text) => {
			if (isShown && performance.now() - shownAt < minRedrawMs) return;
			const line = fitText(toLine(text, 500), readTerminalSize().columns - 1);
			writeAll(2, `\r${line}${eraseToEnd}`);
			shownAt = performance.now();
			isShown = true;
		},
		clear,
		during: async (work) => {
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

export type Screen = {
	/** Shows as many lines as there are rows, none of them wider than the terminal. */
	draw: (lines: readonly string[]) => void;
	/** Gives the terminal back, stops this job, and takes the terminal again when it goes on. */
	suspend: () => void;
	/** Gives the terminal back; once is enough. */
	close: () => void;
};

export type ScreenListener = {
	/** What was typed, as it came. */
	onText: (text: string) => void;
	/** All must be drawn again: another size, or the job goes on. */
	onChange: () => void;
	/** Nobody will ever type again. */
	onEnd: () => void;
};

// The control sequences of xterm that every terminal of today takes (or ignores: 2026).
const eraseToEnd = "\u001b[K";
const cursorHome = "\u001b[H";
const takeScreen = "\u001b[?1049h\u001b[?25l\u001b[?7l";
const giveScreen = "\u001b[?2026l\u001b[m\u001b[?7h\u001b[?25h\u001b[?1049l";
const beginFrame = "\u001b[?2026h";
const endFrame = "\u001b[?2026l";

/** Takes the whole terminal. A frame is one write, and one that was drawn already is not written. */
export function openScreen(listener: ScreenListener): Screen {
	const { stdin, stdout } = process;
	let isOpen = false;
	let drawn: string | undefined;
	const enter = () => {
		if (isOpen) return;
		isOpen = true;
		drawn = undefined;
		stdin.setRawMode(true);
		writeAll(1, takeScreen);
	};
	const leave = () => {
		if (!isOpen) return;
		isOpen = false;
		// A terminal that is gone needs nothing back.
		ignoreErrors(() => writeAll(1, giveScreen));
		ignoreErrors(() => stdin.setRawMode(false));
	};
	const change = () => {
		drawn = undefined;
		listener.onChange();
	};
	const wake = () => {
		leave();
		enter();
		change();
	};
	const onData = (bytes: Uint8Array) => listener.onText(bytes.toString());
	const stops = [
		() => process.off("exit", leave).off("SIGCONT", wake),
		() => stdout.off("resize", change),
		() => stdin.off("data", onData).off("end", listener.onEnd).pause(),
		() => stdin.off("error", listener.onEnd),
	];
	process.on("exit", leave).on("SIGCONT", wake);
	stdout.on("resize", change);
	stdin.on("data", onData).on("end", listener.onEnd);
	stdin.on("error", listener.onEnd);
	enter();
	return {
		draw: (lines) => {
			// Erased first: behind a full line the cursor still stands on its last character.
			const frame = lines.map((line) => eraseToEnd + line).join("\r\n");
			if (!isOpen || frame === drawn) return;
			drawn = frame;
			writeAll(1, beginFrame + cursorHome + frame + endFrame);
		},
		suspend: () => {
			leave();
			suspendJob();
			// Where no shell could ever wake it, it was not stopped either.
			enter();
			change();
		},
		close: () => {
			leave();
			for (const stop of stops) stop();
		},
	};
}

// --- internal ---

function ignoreErrors(act: () => unknown): void {
	try {
		act();
	} catch {}
}
