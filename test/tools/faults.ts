/**
 * Faults for tests: single system calls that fail (strace), files of the kernel that cannot be read,
 * a store that cannot be written for a while (mount namespaces). A machine that lacks one of these
 * says so, and the test has failed.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterTest } from "./concurrent.ts";
import { type Sandbox, until } from "./harness.ts";

/** A call that fails: its name, the path it is about (any), the error, and which of the calls (all). */
export type Fault = {
	calls: string;
	path?: string;
	error: string;
	when?: string;
};

/** The argv of strace that lets calls of the rest of an argv fail. */
export function failing(...faults: readonly Fault[]): string[] {
	return [strace(), "-f", "-qq", "-o", "/dev/null", ...injections(faults)];
}

/** The argv of strace that writes calls of the rest of an argv to a file. */
export const tracing = (calls: string, log: string): string[] => [
	...[strace(), "-f", "-qq", `--trace=${calls}`, "-o", log],
];

/** Lets calls of a process that runs fail until one did. */
export async function failOnce(
	box: Sandbox,
	pid: number,
	fault: Fault,
): Promise<() => Promise<void>> {
	const log = join(box.home, `strace-of-${pid}`);
	const tracer = Bun.spawn(
		[strace(), "-f", "-o", log, ...injections([fault]), `--attach=${pid}`],
		{ stdin: "ignore", stdout: "ignore", stderr: "pipe" },
	);
	const undo = async () => {
		tracer.kill("SIGTERM");
		await tracer.exited;
	};
	afterTest(undo);
	const hasFailed = () => readFileSync(log, "utf8").includes("(INJECTED)");
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
 * The argv that calls the rest of an argv with one file of the system replaced by another text. In
 * a mount namespace of its own: what it starts has it too.
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
	return faults.flatMap(({ calls, path, error, when }) => [
		...(path ? [`--trace-path=${path}`] : []),
		`--inject=${calls}:error=${error}${when ? `:when=${when}` : ""}`,
	]);
}
