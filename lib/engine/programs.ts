/** Calls Slurm's programs. A controller that is down blocks them for 9 s and more, so each call is capped. */
import {
	BgError,
	errorCode,
	errorMessage,
	isMachineFault,
	refused,
} from "../error.ts";
import { parseRefusal } from "./slurm-answers.ts";

/** How long a program may take, in ms. */
const capMs = 3000;

const maxAnswerBytes = 256 * 1024 * 1024;

/** Slurm did not answer: nothing follows. */
export class SilentError extends BgError {
	constructor(why: string) {
		super("refused", `Slurm does not answer (${why})`);
	}
}

/**
 * Runs one of Slurm's programs, at most 3 s.
 * @throws SilentError, or BgError (refused) in its words.
 */
export function call(
	program: string,
	args: readonly string[],
	env: NodeJS.ProcessEnv = process.env,
): string {
	const { spawnSync } = process.getBuiltinModule("node:child_process");
	const options = { encoding: "utf8", ...callOptions(env) } as const;
	const { status, ...answer } = spawnSync(program, args, options);
	if (status === 0) return answer.stdout;
	throw toRefusal(program, answer);
}

/** The same, while other work of this process goes on. */
export function callAsync(
	program: string,
	args: readonly string[],
	env: NodeJS.ProcessEnv = process.env,
): Promise<string> {
	const { execFile } = process.getBuiltinModule("node:child_process");
	const options = { encoding: "utf8", ...callOptions(env) } as const;
	return new Promise((resolve, reject) => {
		execFile(program, args, options, (error, stdout, stderr) => {
			if (!error) resolve(stdout);
			else
				reject(
					toRefusal(program, { error, stdout, stderr, signal: error.signal }),
				);
		});
	});
}

/**
 * Runs one of Slurm's programs, for which this process does not have to wait.
 * @returns a promise, which is never rejected, of whether it succeeded.
 */
export function callAside(
	program: string,
	args: readonly string[],
): Promise<boolean> {
	const { spawn } = process.getBuiltinModule("node:child_process");
	const options = {
		...callOptions(process.env),
		stdio: "ignore",
		detached: true,
	} as const;
	return new Promise<boolean>((resolve, reject) => {
		const child = spawn(program, args, options);
		child.unref();
		child.on("error", reject);
		child.on("exit", (code) => resolve(code === 0));
	}).catch(() => false);
}

// --- internal ---

const callOptions = (env: NodeJS.ProcessEnv) =>
	({
		env: Object.fromEntries(
			Object.entries(env).filter(([name]) => !changesAnswers.test(name)),
		),
		timeout: capMs,
		killSignal: "SIGKILL",
		maxBuffer: maxAnswerBytes,
	}) as const;

/**
 * Variables by which users choose what Slurm's programs list and cancel, or change what bg submits; and what a job in
 * which bg is called would pass on to a job that is in no array and was not started again.
 */
const changesAnswers =
	/^(SQUEUE_|SACCT_|SINFO_|SCANCEL_|SLURM_ARRAY_|SLURM_(CLUSTERS|RESTART_COUNT)$|SBATCH_(ARRAY_INX|CLUSTERS|WAIT|TEST_ONLY)$)/;

type Failure = {
	error?: Error | undefined;
	stdout: string;
	stderr: string;
	signal?: NodeJS.Signals | null | undefined;
};

function toRefusal(program: string, failure: Failure): BgError {
	const { error, stdout, stderr, signal } = failure;
	const said = parseRefusal(stderr || stdout || "");
	if (isFull.test(said)) return refused(`Slurm takes no more jobs (${said})`);
	if (error && "code" in error && error.code === "ENOENT")
		return refused(`${program} is not found: is Slurm installed here?`);
	if (signal || (error && "code" in error && error.code === "ETIMEDOUT"))
		return new SilentError(
			[`${program} took more than 3 s`, said].filter((part) => part).join(": "),
		);
	if (isMachineFault(error) || errorCode(error) === "EAGAIN")
		return new SilentError(`${program}: ${errorMessage(error)}`);
	const words = said || `${program} failed`;
	return unreachable.test(words)
		? new SilentError(words)
		: refused(`Slurm: ${words}`);
}

/** What sbatch says at MaxJobCount: it refuses an array, and tries again and again to submit a job. */
const isFull = /unable to accept job/i;

/** What a program says that reaches no controller. */
const unreachable = /unable to contact|connection|timed out|communication/i;
