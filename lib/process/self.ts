/**
 * This program: its file, and the shell command that calls it. The command is a path, because `bg` alone
 * is a shell builtin (job control).
 */
import { realpathSync } from "node:fs";
import { idPattern } from "../task/ids.ts";
import { taskVariable } from "../task/variables.ts";

/** Whether this is a compiled executable. Bun runs those from a virtual folder. */
export const isCompiled = () =>
	process.argv[1]?.startsWith("/$bunfs/") ?? false;

/** The file of this program: the script or the executable. */
export function programFile(): string {
	const script = process.argv[1];
	return script && !isCompiled() ? realpathSync(script) : process.execPath;
}

/** Whether this program runs from its source files. */
export const isSource = () => programFile().endsWith(".ts");

/** The id of the task that this program runs in; undefined outside of all tasks. */
export function readOwnTaskId(): string | undefined {
	const id = process.env[taskVariable];
	return id && idPattern.test(id) ? id : undefined;
}

/** Quotes a word for a POSIX shell if necessary. */
export const quoteForShell = (word: string) =>
	/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

/** The shell command that calls this program. */
export const programCommand = () => quoteForShell(programFile());

/**
 * Makes the hints of a message typeable: replaces `bg` before one of `words` (verbs) by the command of
 * this program. Only hints begin with `(`, `: `, `, ` or ` and `; other text stays.
 */
export function insertProgramCommand(
	message: string,
	words: readonly string[],
	command = programCommand(),
): string {
	const hint = new RegExp(
		`(\\(|: |, | and )bg (?=(?:${words.join("|")})(?![\\w-]))`,
		"g",
	);
	return message.replace(hint, (_, before) => `${before}${command} `);
}
