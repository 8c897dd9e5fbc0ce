/**
 * Faults for tests: system calls that fail (strace), kernel files that cannot be read, a store that
 * cannot be written for a while (mount namespaces). If the machine lacks one of these, the test fails
 * with a message that says which.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterTest } from "./concurrent.ts";
import { type Sandbox, until } from "./harness.ts";

/**
 * A call that fails or takes long: its name, its path (default any), the error or the delay in µs, and which of the
 * calls (default all).
 */
export type Fault = {
	calls: string;
	path?: string;
	error?: string;
	delay_enter?: number;
	when?: string;
};

/** An argv prefix: strace that makes calls of the command fail. */
export function failing(...faults: readonly Fault[]): string[] {
	return [strace(), "-f", "-qq", "-o", "/dev/null", ...injections(faults)];
}

/** An argv prefix: strace that writes calls of the command to a file. */
export const tracing = (calls: string, log: string): string[] => [
	...[strace(), "-f", "-qq", `--trace=${calls}`, "-o", log],
];

/** Gives calls of the first thread of a running process a fault until one has had it. */
export async function failOnce(
	box: Sandbox,
	pid: number,
	fault: Fault,
): Promise<() => Promise<void>> {
	const log = join(box.home, `strace-of-${pid}`);
	const tracer = Bun.spawn(
		[strace(), "-o", log, ...injections([fault]), `--attach=${pid}`],
		{ stdin: "ignore", stdout: "ignore", stderr: "pipe" },
	);
	const undo = () => endTracer(tracer);
	afterTest(undo);
	const hasFailed = () =>
		/\((INJECTED|DELAYED)\)/.test(readFileSync(log, "utf8"));
	let said = "";
	const decoder = new TextDecoder();
	void (async () => {
		for await (const chunk of tracer.stderr) said += decoder.decode(chunk);
	})();
	await until(
		() => said.includes("attached"),
		"strace attached",
		() => said,
	);
	return async () => {
		await until(hasFailed, "a call that failed");
		await undo();
	};
}

/**
 * Ends strace. While it detaches from a process that exits it may wait forever for its first thread: then the
 * kernel detaches it.
 */
export async function endTracer(tracer: Bun.Subprocess): Promise<void> {
	tracer.kill("SIGTERM");
	const forced = setTimeout(() => tracer.kill("SIGKILL"), 1000);
	await tracer.exited;
	clearTimeout(forced);
}

/**
 * An argv prefix: runs the command with the text of one system file replaced, in its own mount
 * namespace, which its children share.
 */
export function withFile(box: Sandbox, path: string, text: string): string[] {
	const file = join(box.home, `in-place-of-${path.replaceAll("/", "-")}`);
	writeFileSync(file, text);
	const mount = 'mount --bind "$0" "$1" && shift && exec "$@"';
	return [...namespace, "sh", "-c", mount, file, path];
}

export const namespace = [
	"unshare",
	...(process.getuid?.() === 0 ? [] : ["--map-root-user"]),
	"--mount",
];

/** Runs a shell command in the mount namespace of a process. */
export function inNamespaceOf(pid: number, command: string): void {
	const user =
		process.getuid?.() === 0 ? [] : ["--user", "--preserve-credentials"];
	const { exitCode, stderr } = Bun.spawnSync([
		"nsenter",
		`--target=${pid}`,
		...user,
		"--mount",
		"sh",
		"-c",
		command,
	]);
	if (exitCode !== 0) throw new Error(`${command}: ${stderr}`);
}

// --- internal ---

function strace(): string {
	const path = Bun.which("strace");
	if (path) return path;
	throw new Error("this test needs strace (apt-get install strace)");
}

function injections(faults: readonly Fault[]): string[] {
	return faults.flatMap(({ calls, path, ...rest }) => [
		...(path ? [`--trace-path=${path}`] : []),
		`--inject=${[calls, ...Object.entries(rest).map((each) => each.join("="))].join(":")}`,
	]);
}
