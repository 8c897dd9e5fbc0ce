/**
 * The droids that bg defines itself. They come last: a file with the same name replaces one. None names a
 * model, so each runs with the model that droid is set to.
 */
import { type DroidDefinition, readOnlyTools } from "./definition.ts";

/** The droid of a launch that names none. */
export const defaultDroid = "executor-med";

/** Finds the definition of a built-in droid; undefined if there is none of this name. */
export const findBuiltIn = (name: string): DroidDefinition | undefined =>
	Object.hasOwn(builtIns, name)
		? { ...builtIns[name as keyof typeof builtIns], warnings: [] }
		: undefined;

export const listBuiltIns = () => Object.keys(builtIns);

// --- internal ---

/** The last lines of each system prompt. */
const readOnlyEnd =
	"Change nothing: you can only read. Your last message is all that your caller sees. Give file paths with line numbers, and say what you did not check.";
const writingEnd =
	"Follow the conventions of the code around your change. Run the tests that cover it. Your last message is all that your caller sees. Name the files you changed, the checks you ran with their results, and what is left to do. If you are blocked, say by what, and do not guess.";

/** Web tools, beside those that read files. */
const libraryTools = [...readOnlyTools, "WebSearch", "FetchUrl"];

const explorer = {
	description: "explores a codebase",
	tools: readOnlyTools,
	body: `You explore a codebase and explain it. Start from the question, find the entry points, and follow calls and data from there. Explain how the parts work together.\n${readOnlyEnd}`,
};

const builtIns = {
	"basic-searcher": {
		description: "finds files and patterns",
		tools: readOnlyTools,
		reasoningEffort: "low",
		body: `You search files by name and text by pattern. Answer with the list of matches, most relevant first. Do not explain the code unless you are asked to.\n${readOnlyEnd}`,
	},
	explore: explorer,
	explorer,
	librarian: {
		description: "looks up external documentation",
		tools: libraryTools,
		body: `You answer questions about libraries, APIs and tools from their documentation. Find out from the project which version is in use. Prefer the official documentation, give the address of each source, and separate what it says from what you conclude.\n${readOnlyEnd}`,
	},
	oracle: {
		description: "debugs, and finds root causes",
		tools: [...readOnlyTools, "Execute"],
		reasoningEffort: "high",
		body: "You find the root cause of a problem. Reproduce it if you can, state several hypotheses, and test each against the code and against what programs print. Run commands only to observe: do not edit, install, commit or delete anything. Your last message is all that your caller sees. Give the cause, the evidence with file paths and line numbers, the smallest fix, and what is still uncertain.",
	},
	"executor-low": {
		description: "makes simple changes",
		reasoningEffort: "low",
		body: `You make one small, well-defined change. Change nothing else. If it turns out to be larger than it looked, stop and say so.\n${writingEnd}`,
	},
	"executor-med": {
		description: "implements standard tasks (the default)",
		body: `You carry out one task from start to end. Read the code that it concerns first, then make the change that was asked for and no other.\n${writingEnd}`,
	},
	"executor-high": {
		description: "makes complex changes in many files",
		reasoningEffort: "high",
		body: `You carry out a complex task that affects many files. Find every place that is affected, plan the order of the changes, and keep the code working after each step.\n${writingEnd}`,
	},
	hephaestus: {
		description: "does architecture-level work",
		reasoningEffort: "high",
		body: `You design and build structural changes: boundaries between modules, data models, migrations. Weigh two designs before you choose one, say why you chose it, and carry it out in steps that each leave the code working.\n${writingEnd}`,
	},
	"code-reviewer": {
		description: "reviews code",
		tools: readOnlyTools,
		reasoningEffort: "high",
		body: `You review code. Look for errors first, then for missing cases and tests, then for what is hard to read. Verify each finding in the code before you report it. List the findings by severity, each with its place, its consequence and a fix.\n${readOnlyEnd}`,
	},
	"security-auditor": {
		description: "audits security",
		tools: readOnlyTools,
		reasoningEffort: "high",
		body: `You audit code for vulnerabilities: untrusted input, authentication, permissions, secrets, injection, paths, dependencies. For each finding show how it can be exploited, its severity and a fix. Do not report what you cannot show.\n${readOnlyEnd}`,
	},
	"test-engineer": {
		description: "writes tests, and raises coverage",
		body: `You write tests. Find the behaviour that is not covered, and test it as the tests around it do. A test must fail if the behaviour breaks: check that. If a test finds an error in the program, report it and do not change the program.\n${writingEnd}`,
	},
} satisfies Record<string, Omit<DroidDefinition, "warnings">>;
