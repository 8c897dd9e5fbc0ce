/** The user's words on where a task's supervisor runs: an engine, and arguments for it. */
import { usage } from "../error.ts";
import { toLine } from "../print/text.ts";
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
			`${flag} ${JSON.stringify(toLine(given, 40))}: an engine is ${engineNames.join(", ")}, or local for this machine`,
		);
	const args = parseArguments(engineArgs ?? process.env.BG_ENGINE_ARGS ?? "");
	return { name, ...(args.length && { args }) };
}

/** The most that the arguments of one task may hold, in characters. */
const maxLength = 16_384;

/** The options of sbatch that bg gives itself; others would change what is submitted. */
const ownOptions = [
	"array",
	"job-name",
	"parsable",
	"wrap",
	"test-only",
	"wait",
	"dependency",
	"chdir",
	"cluster",
	"clusters",
	"help",
	"usage",
	"version",
];

/** The same as letters, also after letters of options without a value. */
const ownLetters = /^-[HIkOQsv]*[aJWdDMhV]/;

/**
 * Splits the user's arguments as a shell does, without one.
 * @throws BgError (usage) for arguments that bg gives itself, for a script and for an open quote.
 */
export function parseArguments(text: string): string[] {
	if (text.length > maxLength)
		throw usage(
			`--engine-args has ${text.length} characters: at most ${maxLength} fit`,
		);
	// biome-ignore lint/suspicious/noControlCharactersInRegex: these are looked for
	if (/[\0-\x08\x0e-\x1f\x7f]/.test(text))
		throw usage("--engine-args has a control character");
	const pattern = /(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+|(\S)/gs;
	const words = [...text.matchAll(pattern)].map(([word, open]) => {
		if (open) throw usage(`--engine-args ${toLine(text)}: a quote is open`);
		return word.replace(
			/\\(.)|"((?:[^"\\]|\\.)*)"|'([^']*)'/gs,
			(_, escaped, double, single) =>
				escaped ?? single ?? double?.replace(/\\(["\\$`])/g, "$1") ?? "",
		);
	});
	for (const [at, word] of words.entries()) {
		const before = words[at - 1] ?? "=";
		const isValue = /^-/.test(before) && !before.includes("=");
		if (isOwn(word)) throw usage(`--engine-args ${word}: bg sets that itself`);
		if (word === "--" || (!word.startsWith("-") && !isValue))
			throw usage(
				`--engine-args: ${JSON.stringify(toLine(word, 80))} is not an option of sbatch`,
			);
	}
	return words;
}

// --- internal ---

/** Whether sbatch would take a word as one of bg's own options: it takes beginnings of names, too. */
function isOwn(word: string): boolean {
	const [, name] = /^--([a-z][\w-]*)/.exec(word) ?? [];
	return name
		? ownOptions.some((own) => own.startsWith(name))
		: ownLetters.test(word);
}
