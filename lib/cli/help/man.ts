/**
 * The man page as roff with the macros of man(7): the text of the help, then exit codes and environment
 * variables. Pure.
 */
import { type ExitName, exitCodes } from "../../error.ts";
import { groups, type Verb } from "../verb.ts";
import { formatSynopsis, listFlags, listPositionals } from "./help.ts";

const summary = "background tasks for coding agents";

export const exitCodeMeanings = {
	ok: "success",
	failed:
		"a task failed, a check failed, or a question was not answered with yes",
	usage: "invalid arguments; the message says what to type",
	missing: "no such task, or the id matches more than one",
	refused: "the system or a limit refused the call",
	timedOut: "the timeout of wait expired",
} as const satisfies Record<ExitName, string>;

/** Environment variables. */
export const variables = {
	BG_DIR:
		"the folder of records and outputs (~/.factory/.omd/background-tasks)",
	BG_DROID: "the droid to run (droid on PATH)",
	BG_SESSION_ID:
		"the parent session of new tasks; report, wait, and selectors of verbs that stop or change tasks are limited to its tasks",
	BG_ENGINE:
		"the engine of launches without --on: slurm, or local for this machine (local)",
	BG_ENGINE_ARGS: "the arguments for it, without --engine-args",
	BG_MAX_RUNNING: "the most tasks that run at once (8)",
	BG_MAX_PER_DROID: "the most tasks of one droid that run at once (no limit)",
	BG_MAX_DEPTH: "the depth to which tasks may launch tasks (3)",
	BG_MAX_QUEUED: "the most queued tasks (1000)",
	BG_KEEP:
		"how many finished tasks stay in the folder; older ones move to .archive (1000; 0: all stay)",
	NO_COLOR: "if set, no colours",
} as const;

const files = {
	"$BG_DIR/<id>.json": "the record of a task",
	"$BG_DIR/<id>.out": "its output; for a droid, its JSON stream",
	"$BG_DIR/.supervisor.log, .hook.log":
		"faults of supervisors and of hooks; bg doctor counts them",
} as const;

export function renderMan(verbs: readonly Verb[], version: string): string {
	return [
		`.TH BG 1 "" "bg ${toRoff(version)}"`,
		...formatHeading("NAME"),
		`bg \\- ${summary}`,
		...formatHeading("SYNOPSIS"),
		".B bg",
		"\\fIverb\\fR [\\fIflags\\fR] [\\fIarguments\\fR]",
		...formatHeading("DESCRIPTION"),
		formatText(
			"Launches tasks that outlive their launcher, supervises each until it ends, and keeps every output. A task is named by its id, by a unique beginning or end (4 digits or more) of its id, or by @last, the newest task. Replies are text in a terminal and JSON in a pipe; --json and --text override that.",
		),
		".PP",
		formatText(
			"Shells have a builtin bg for their jobs. Type env bg, or bg-tasks if npm installed it, or load the completions, which choose between the two (bg help completion).",
		),
		...Object.entries(groups).flatMap(([group, title]) => [
			...formatHeading(title.toUpperCase()),
			...verbs.filter((verb) => verb.group === group).flatMap(formatVerb),
		]),
		...formatHeading("EXIT STATUS"),
		...Object.entries(exitCodeMeanings).flatMap(([name, meaning]) =>
			formatEntry([`${exitCodes[name as ExitName]}`, meaning]),
		),
		...formatHeading("ENVIRONMENT"),
		...Object.entries(variables).flatMap(formatEntry),
		...formatHeading("FILES"),
		...Object.entries(files).flatMap(formatEntry),
		"",
	].join("\n");
}

// --- internal ---

function formatVerb(verb: Verb): string[] {
	return [
		`.SS ${quoteText(formatSynopsis(verb))}`,
		`${formatText(verb.description)}.`,
		...listPositionals(verb).flatMap(formatEntry),
		...listFlags(verb).flatMap(formatEntry),
		...Object.entries(verb.notes ?? {}).flatMap(([title, rows]) => [
			".PP",
			`${formatText(title)}:`,
			...rows.flatMap(formatEntry),
		]),
		...Object.entries(verb.examples).flatMap(([line, effect]) => [
			".PP",
			formatText(`Example, ${effect}:`),
			".PP",
			".nf",
			`    ${formatText(line)}`,
			".fi",
		]),
	];
}

const formatHeading = (title: string) => [`.SH ${quoteText(title)}`];

/** A term in bold, and its meaning. */
const formatEntry = ([name, meaning]: readonly [string, string]) => [
	".TP",
	`\\fB${toRoff(name)}\\fR`,
	formatText(meaning),
];

/** Text on its own line, of which nothing is read as a request. */
const formatText = (words: string) =>
	toRoff(words).replace(/^(?=['.])/gm, "\\&");

const quoteText = (words: string) => `"${toRoff(words).replaceAll('"', '""')}"`;

/** Literal text: a backslash is shown, and a minus can be copied into a shell. */
const toRoff = (words: string) =>
	words
		.replaceAll("\\", "\\e")
		.replaceAll("-", "\\-")
		.replaceAll("`", "\\(ga")
		.replaceAll("'", "\\(aq")
		.replaceAll("^", "\\(ha")
		.replaceAll("~", "\\(ti")
		.replaceAll("…", "...");
