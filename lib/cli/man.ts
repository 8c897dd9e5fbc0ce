/**
 * The man page, as roff with the macros of man(7), which every system that has man pages knows: the
 * same words as the help has, and what holds for all verbs. Pure.
 */
import { exitCodes } from "../error.ts";
import { formatSynopsis, listFlags, listPositionals } from "./help.ts";
import { groups, type LoadedVerb } from "./verb.ts";

const summary = "background tasks for coding agents";

/** What each exit code means. */
const exitCodeMeanings = {
	ok: "done",
	failed: "a task failed, or the answer is no",
	usage: "the call was wrong; the message says what to type",
	missing: "no such task, or more than one that begins like that",
	refused: "the system or a limit refused",
	timedOut: "waited as long as was asked",
} as const satisfies Record<keyof typeof exitCodes, string>;

/** What the environment says. */
const variables = {
	BG_DIR:
		"the folder of records and outputs, else ~/.factory/.omd/background-tasks",
	BG_DROID: "the droid to run, else droid on PATH",
	BG_SESSION_ID: "whose tasks are meant where nothing else is said",
	BG_MAX_RUNNING: "how many tasks run at once, 8",
	BG_MAX_PER_DROID: "how many of one droid run at once, all",
	BG_MAX_DEPTH: "how deep tasks may launch tasks, 3",
	BG_MAX_QUEUED: "how many tasks may wait, 1000",
	NO_COLOR: "no colours",
} as const;

/** The whole page. */
export function renderMan(
	verbs: readonly LoadedVerb[],
	version: string,
): string {
	const of = (group: string) => verbs.filter((verb) => verb.group === group);
	return [
		`.TH BG 1 "" "bg ${toRoff(version)}"`,
		...formatHeading("NAME"),
		`bg \\- ${summary}`,
		...formatHeading("SYNOPSIS"),
		".B bg",
		"\\fIverb\\fR [\\fIflags\\fR] [\\fIarguments\\fR]",
		...formatHeading("DESCRIPTION"),
		formatText(
			"Launches tasks that outlive their launcher, watches each to its end, and keeps every output. A task is named by its id, by a beginning of it that is its alone, or by @last, the newest. Answers are text in a terminal and JSON in a pipe; --json and --text decide otherwise.",
		),
		".PP",
		formatText(
			"Shells have a bg of their own, for their jobs: type env bg, or bg-tasks where npm installed it, or load the completions, which keep the two apart (bg help completion).",
		),
		...Object.entries(groups).flatMap(([group, title]) => [
			...formatHeading(title.toUpperCase()),
			...of(group).flatMap(formatVerb),
		]),
		...formatHeading("EXIT STATUS"),
		...Object.entries(exitCodes).flatMap(([name, code]) =>
			formatEntry(
				String(code),
				exitCodeMeanings[name as keyof typeof exitCodeMeanings],
			),
		),
		...formatHeading("ENVIRONMENT"),
		...Object.entries(variables).flatMap(([name, says]) =>
			formatEntry(name, says),
		),
		"",
	].join("\n");
}

// --- internal ---

function formatVerb(verb: LoadedVerb): string[] {
	const rows = [...listPositionals(verb), ...listFlags(verb)];
	return [
		`.SS ${quoteText(formatSynopsis(verb))}`,
		`${formatText(verb.meta.description)}.`,
		...rows.flatMap(([name, says]) => formatEntry(name, says)),
		...verb.examples.flatMap(([line, does]) => [
			".PP",
			`${formatText(`Example, ${does}:`)}`,
			".PP",
			".nf",
			`    ${formatText(line)}`,
			".fi",
		]),
	];
}

const formatHeading = (title: string) => [`.SH ${quoteText(title)}`];

/** A term in bold, and what it means. */
const formatEntry = (name: string, says: string) => [
	".TP",
	`\\fB${toRoff(name)}\\fR`,
	formatText(says),
];

/** Words on a line of their own: none of them a request, whatever they begin with. */
const formatText = (words: string) =>
	toRoff(words).replace(/^(?=['.])/gm, "\\&");

const quoteText = (words: string) => `"${toRoff(words).replaceAll('"', '""')}"`;

/** Words as they are: a backslash is shown, and a minus can be copied into a shell. */
const toRoff = (words: string) =>
	words
		.replaceAll("\\", "\\e")
		.replaceAll("-", "\\-")
		.replaceAll("`", "\\(ga")
		.replaceAll("'", "\\(aq")
		.replaceAll("^", "\\(ha")
		.replaceAll("~", "\\(ti")
		.replaceAll("…", "...");
