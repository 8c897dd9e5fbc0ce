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
 * @returns `signal`: resolves with the first one. `ignore`: stops listening.
 */
export function catchEndSignals() {
	let ignore = () => {};
	const signal = new Promise<(typeof endSignals)[number]>((resolve) => {
		for (const name of endSignals) process.on(name, resolve);
		ignore = () => {
			for (const name of endSignals) process.off(name, resolve);
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
	name: (typeof endSignals)[number],
) {
	ignore();
	raiseSignal(name);
	return 128 + constants.signals[name];
}

// --- the line of progress ---

/** The least time between two redraws, in ms. */
const minRedrawMs = 50;

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
			const line = fitText(toLine(text, 500), readTerminalSize().columns - 1);
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
	/** Called with typed text, unchanged. */
	onText: (text: string) => void;
	/** Called if all must be drawn again: the size changed or the job continues. */
	onChange: () => void;
	/** Called at the end of input. */
	onEnd: () => void;
};

// Control sequences of xterm. Every current terminal obeys them, or ignores them (2026).
const eraseToEnd = "\u001b[K";
const cursorHome = "\u001b[H";
const takeScreen = "\u001b[?1049h\u001b[?25l\u001b[?7l";
const giveScreen = "\u001b[?2026l\u001b[m\u001b[?7h\u001b[?25h\u001b[?1049l";
const beginFrame = "\u001b[?2026h";
const endFrame = "\u001b[?2026l";

/** Takes the whole screen. A frame is one write; the same frame is not written twice. */
export function openScreen(listener: ScreenListener) {
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
		// Errors of a terminal that is gone are ignored.
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
	process.on("exit", leave).on("SIGCONT", wake);
	stdout.on("resize", change);
	stdin.on("data", onData).on("end", listener.onEnd);
	stdin.on("error", listener.onEnd);
	enter();
	return {
		/** Draws lines: as many as the terminal has rows, none wider than the terminal. */
		draw: (lines: readonly string[]) => {
			// Erased before it is written: after a full line the cursor is still on its last character.
			const frame = lines.map((line) => eraseToEnd + line).join("\r\n");
			if (!isOpen || frame === drawn) return;
			drawn = frame;
			writeAll(1, beginFrame + cursorHome + frame + endFrame);
		},
		/** Restores the terminal, stops this job, and takes the screen again when it continues. */
		suspend: () => {
			leave();
			suspendJob();
			// Also if there is no shell: then the job was not stopped.
			enter();
			change();
		},
		/** Restores the terminal. */
		close: () => {
			leave();
			process.off("exit", leave).off("SIGCONT", wake);
			stdout.off("resize", change);
			stdin.off("data", onData).off("end", listener.onEnd);
			stdin.off("error", listener.onEnd).pause();
		},
	};
}

// --- internal ---

function ignoreErrors(act: () => unknown): void {
	try {
		act();
	} catch {}
}
