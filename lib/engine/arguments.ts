/** The user's words on where a task's supervisor runs: an engine, and arguments for it. */
import { usage } from "../error.ts";
import { engineNames, type TaskEngine } from "../task/schema.ts";

/** As typed, or from the environment. */
export type EngineOptions = {
	/** An engine; `local`: this machine. */
	on?: string | undefined;
	/** Arguments of the engine's own program, as a shell would split them. */
	engineArgs?: string | undefined;
};

/**
 * The engine of a launch: as its flags say, else `$BG_ENGINE` and `$BG_ENGINE_ARGS`; undefined for this machine.
 * @throws BgError (usage).
 */
export function checkEngine({
	on,
	engineArgs,
}: EngineOptions): TaskEngine | undefined {
	const given = on ?? process.env.BG_ENGINE ?? "";
	const flag = on === undefined ? "BG_ENGINE" : "--on";
	if (given === "" || given === "local") {
		if (engineArgs !== undefined)
			throw usage(`--engine-args is for an engine: --on ${engineNames[0]}`);
		return undefined;
	}
	const name = engineNames.find((each) => each === given);
	if (!name)
		throw usage(
			`${flag} ${JSON.stringify(given)}: there are ${engineNames.join(", ")} and local`,
		);
	const args = parseArguments(engineArgs ?? process.env.BG_ENGINE_ARGS ?? "");
	return { name, ...(args.length && { args }) };
}

/** The arguments that bg gives itself. */
const ownOptions =
	/^(--(array|job-name|parsable|wrap|test-only|wait|dependency|chdir|clusters?)(=|$)|-[aJWdDM])/;

/**
 * Splits the user's arguments as a shell does, without one.
 * @throws BgError (usage) for arguments that bg gives itself, for a script and for an open quote.
 */
export function parseArguments(text: string): string[] {
	const pattern = /(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+|(\S)/gs;
	const words = [...text.matchAll(pattern)].map(([word, open]) => {
		if (open) throw usage(`--engine-args ${text}: a quote is open`);
		return word.replace(
			/\\(.)|"((?:[^"\\]|\\.)*)"|'([^']*)'/gs,
			(_, escaped, double, single) =>
				escaped ?? single ?? double?.replace(/\\(["\\$`])/g, "$1") ?? "",
		);
	});
	for (const [at, word] of words.entries()) {
		if (ownOptions.test(word))
			throw usage(`--engine-args ${word}: bg sets that itself`);
		const before = words[at - 1] ?? "=";
		const isValue = /^-/.test(before) && !before.includes("=");
		if (!word.startsWith("-") && !isValue)
			throw usage(
				`--engine-args: ${JSON.stringify(word)} is not an option of sbatch`,
			);
	}
	return words;
}
