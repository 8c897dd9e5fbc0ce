/**
 * A terminal for tests: a program runs in it as in a person's, with the terminal as its controlling
 * one, and what it drew last can be read. Bun makes the terminal, setsid hands it over.
 */
import { constants } from "node:os";
import { afterTest } from "./concurrent.ts";
import { program, type Sandbox, until } from "./harness.ts";
import { readScreen } from "./screen.ts";

export type Pty = {
	/** All that was ever written. */
	text: () => string;
	/** The lines of the last complete frame; empty if none was drawn. */
	screen: () => string[];
	/** Waits until the text written, or the screen, matches. */
	untilText: (wanted: RegExp) => Promise<unknown>;
	untilScreen: (wanted: RegExp) => Promise<unknown>;
	type: (keys: string) => void;
	resize: (columns: number, rows: number) => void;
	kill: (signal: NodeJS.Signals) => void;
	/** The exit code, or the name of the signal that ended it, once all it wrote is here. */
	ended: Promise<number | NodeJS.Signals | null>;
	/** Whether the terminal is one that lines are typed into, as shells leave it. */
	isCooked: () => boolean;
	/** Whether another screen was taken and not given back, or the cursor hidden. */
	isTaken: () => boolean;
	/** Hangs up. */
	close: () => void;
};

export type PtyOptions = {
	columns?: number;
	rows?: number;
	env?: Record<string, string>;
	/** What runs in it; without, the program under test. */
	argv?: string[];
	/** Where its standard output goes, if not to the terminal. */
	stdout?: string;
};

/** ICANON and ECHO of termios. */
const cooked = 0o2 | 0o10;
const mark = "§";

/** How a program ends that a signal ended: by it, or, where its runtime holds that back, as shells say it. */
export const endsOf = (signal: NodeJS.Signals): unknown[] => [
	signal,
	128 + constants.signals[signal],
];

/** What is written, in lines and without colours. */
export const linesOf = (text: string) => Bun.stripANSI(text).split(/\r+\n/);

/** Runs `bg` with these arguments in a terminal. */
export function openPty(
	box: Pick<Sandbox, "home" | "env">,
	args: readonly string[],
	options: PtyOptions = {},
): Pty {
	const { columns = 80, rows = 24, argv = program, env } = options;
	let text = "";
	const decoder = new TextDecoder();
	const terminal = new Bun.Terminal({
		cols: columns,
		rows,
		data: (_, bytes) => {
			text += decoder.decode(bytes, { stream: true });
		},
	});
	const child = Bun.spawn(["setsid", "--ctty", "--wait", ...argv, ...args], {
		cwd: box.home,
		env: { ...box.env, TERM: "xterm-256color", ...env },
		terminal,
	});
	afterTest(async () => {
		child.kill("SIGKILL");
		await child.exited;
		terminal.close();
	});
	let height = rows;
	const screen = () =>
		readScreen(text, height).map((line) => Bun.stripANSI(line));
	const seen = () => JSON.stringify(text.slice(-2000));
	const isCooked = () => (terminal.localFlags & cooked) === cooked;
	return {
		text: () => text,
		screen,
		untilText: (wanted) => until(() => wanted.test(text), String(wanted), seen),
		untilScreen: (wanted) =>
			until(() => wanted.test(screen().join("\n")), String(wanted), seen),
		type: (keys) => {
			terminal.write(keys);
		},
		resize: (columns, rows) => {
			height = rows;
			terminal.resize(columns, rows);
		},
		kill: (signal) => child.kill(signal),
		ended: child.exited.then(async () => {
			// What is echoed comes behind all that was written.
			if (!terminal.closed && isCooked()) {
				terminal.write(mark);
				await until(() => text.endsWith(mark), "the last of the text", seen);
				text = text.slice(0, -mark.length);
			}
			return child.signalCode ?? child.exitCode;
		}),
		isCooked,
		isTaken: () =>
			isOn(text, "1049") || (text.includes("[?25l") && !isOn(text, "25")),
		close: () => terminal.close(),
	};
}

// --- internal ---

/** Whether a mode of the terminal was set last, and not reset. */
const isOn = (text: string, mode: string) =>
	text.lastIndexOf(`\u001b[?${mode}h`) > text.lastIndexOf(`\u001b[?${mode}l`);
