/**
 * This program itself: the file it is, and how a shell is told to call it. `bg` alone will not do
 * there, for that is a word of the shell's own (job control): it has to be a path.
 */
import { realpathSync } from "node:fs";

/** Bun's compiled programs run from a virtual folder. */
export const isCompiled = () =>
	process.argv[1]?.startsWith("/$bunfs/") ?? false;

/** The file this program is: the script, or the executable. */
export function programFile(): string {
	const script = process.argv[1];
	return script && !isCompiled() ? realpathSync(script) : process.execPath;
}

/** Whether it runs from its source, which is many files. */
export const isSource = () => programFile().endsWith(".ts");

/** A word as a shell takes it for what it is. */
export const quoteForShell = (word: string) =>
	/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

/** What to type in a shell to call this program. */
export const programCommand = () => quoteForShell(programFile());

/**
 * A message whose hints can be typed: where it tells somebody to call `bg` with one of these words,
 * the command that is this program stands instead. What a message is about stays as it is.
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
