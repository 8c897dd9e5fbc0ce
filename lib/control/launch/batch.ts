/**
 * Plans a batch: JSON lines, each a launch or a run. All lines are checked before anything is launched;
 * every fault names its line. A line may have a name, which `after` of any other line may use.
 */
import * as v from "valibot";
import type { EngineOptions } from "../../engine/arguments.ts";
import { errorMessage, isRefusal, usage } from "../../error.ts";
import { checkLaunchSize } from "../../task/record-size.ts";
import { optionalText } from "../../task/schema.ts";
import type { DroidOptions } from "./options.ts";
import { type LaunchPlan, planCommand, planDroid } from "./plan.ts";

/** The most lines a batch may have. */
const maxLines = 10_000;

/** The most faults that one message names. */
const maxFaults = 10;

const textOrList = v.union([v.string(), v.array(v.string())]);
const list = v.pipe(
	textOrList,
	v.transform((given) =>
		typeof given === "string"
			? given.split(",").map((each) => each.trim())
			: given,
	),
);
/** Tags: one, or a list. A tag may hold a comma. */
const tags = v.pipe(
	textOrList,
	v.transform((given) => [given].flat()),
);
const environment = v.union([
	v.pipe(
		v.record(v.pipe(v.string(), v.regex(/^[A-Za-z_]\w*$/)), v.string()),
		v.transform((given) => Object.entries(given).map((pair) => pair.join("="))),
	),
	v.array(v.string()),
]);
const numberText = v.pipe(
	v.union([v.string(), v.number()]),
	v.transform(String),
);

/** The keys that only a droid takes. */
const droidEntries = {
	prompt: optionalText,
	prompt_file: optionalText,
	private: v.optional(v.boolean()),
	droid: optionalText,
	autonomy: optionalText,
	model: optionalText,
	worktree: v.optional(v.union([v.string(), v.boolean()])),
	max_tokens: v.optional(numberText),
};

const BatchLine = v.strictObject({
	...droidEntries,
	name: v.optional(
		v.pipe(v.string(), v.regex(/^(?!bg_)[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/)),
	),
	description: v.string(),
	session: optionalText,
	/** As `session`: the name of an older bg. */
	parent_session_id: optionalText,
	command: v.optional(v.array(v.string())),
	cwd: optionalText,
	env: v.optional(environment),
	stdin: optionalText,
	tag: v.optional(tags),
	tags: v.optional(tags),
	after: v.optional(list),
	after_any: v.optional(list),
	timeout: v.optional(numberText),
	delay: v.optional(numberText),
	priority: v.optional(numberText),
	retries: v.optional(numberText),
	unique: optionalText,
	max_output: v.optional(numberText),
	on_end: v.optional(textOrList),
	on: optionalText,
	engine_args: optionalText,
});
type BatchLine = v.InferOutput<typeof BatchLine>;
const JsonLine = v.pipe(
	v.string(),
	v.parseJson(),
	v.transform(renameKeys),
	BatchLine,
);
type NumberedLine = { number: number; line: BatchLine };

/** The keys of a line. */
export const batchKeys = Object.keys(BatchLine.entries);

/** A plan, and the name of its line if it has one. */
export type NamedPlan = { name?: string | undefined; plan: LaunchPlan };

/**
 * Plans a whole batch.
 * @param text JSON lines; blank lines are skipped.
 * @param given the engine of lines that name none, and its arguments.
 * @throws BgError (usage) that names the faulty lines, at most 10.
 */
export function planBatch(
	text: string,
	given: EngineOptions = {},
): NamedPlan[] {
	const faults: { number: number; problem: string }[] = [];
	/** Calls `act` for each line. A line it refuses becomes a fault and is left out. */
	const attemptEach = <L extends { number: number }, T>(
		lines: readonly L[],
		act: (line: L) => T,
	): T[] =>
		lines.flatMap((each) => {
			try {
				return [act(each)];
			} catch (error) {
				if (!isRefusal(error)) throw error;
				faults.push({ number: each.number, problem: errorMessage(error) });
				return [];
			}
		});
	const lines = text
		.split("\n")
		.map((json, index) => ({ json, number: index + 1 }))
		.filter(({ json }) => json.trim());
	if (lines.length === 0) throw usage("the batch is empty");
	if (lines.length > maxLines)
		throw usage(`the batch has more than ${maxLines} lines`);
	const read = attemptEach(lines, ({ json, number }) => ({
		number,
		line: parseLine(json),
	}));
	const named = new Map<string, NumberedLine>();
	attemptEach(read, (each) => {
		const { name } = each.line;
		const first = name && named.get(name);
		if (first) throw usage(`line ${first.number} has the name ${name} too`);
		if (name) named.set(name, each);
	});
	const planned = attemptEach(read, (each) => ({
		...each,
		plan: planLine(addEngine(each.line, given), named),
	}));
	const [first] = planned;
	attemptEach(planned, ({ plan }) => {
		if (first && nameEngine(plan) !== nameEngine(first.plan))
			throw usage(
				`it would run on ${nameEngine(plan)}, and line ${first.number} on ${nameEngine(first.plan)}: a batch runs on one engine`,
			);
	});
	const cycle = findCycle(read, named);
	if (cycle)
		faults.push({
			number: cycle[0]?.number ?? 0,
			problem: `it would wait for itself: ${cycle.map(({ line }) => line.name).join(" → ")}`,
		});
	const ids = new Map(
		planned.map(({ line, plan }) => [line.name, plan.task.id]),
	);
	attemptEach(planned, ({ line, plan: { task } }) => {
		const local = listPredecessors(line).flatMap((name) => ids.get(name) ?? []);
		if (local.length) task.after = [...(task.after ?? []), ...local];
		if (local.length && line.after_any) task.after_mode = "any";
		checkLaunchSize(task);
	});
	if (faults.length) throw usage(describeFaults(faults));
	return planned.map(({ line: { name }, plan }) => ({ plan, name }));
}

// --- internal ---

const addEngine = (
	line: BatchLine,
	{ on, engineArgs }: EngineOptions,
): BatchLine => ({
	...line,
	on: line.on ?? on,
	engine_args: line.engine_args ?? engineArgs,
});

const nameEngine = ({ task }: LaunchPlan) => task.engine?.name ?? "local";

/** Keys that mean the same. */
const pairs = [
	["tag", "tags"],
	["session", "parent_session_id"],
] as const;

/** The keys of an object as those of the schema: a flag may be written as it is typed, `max-output`. */
function renameKeys(line: unknown): unknown {
	if (typeof line !== "object" || line === null || Array.isArray(line))
		return line;
	const renamed: Record<string, unknown> = {};
	for (const [key, value] of Object.entries(line)) {
		const name = key.replaceAll("-", "_");
		if (Object.hasOwn(renamed, name)) throw usage(`${name} is given twice`);
		renamed[name] = value;
	}
	return renamed;
}

function parseLine(json: string): BatchLine {
	const parsed = v.safeParse(JsonLine, json);
	if (parsed.success) return parsed.output;
	const [issue] = parsed.issues;
	if (issue.type === "parse_json") throw usage("it is not JSON");
	const key = v.getDotPath(issue);
	if (!key) throw usage("it is not a JSON object");
	if (issue.expected === "never") throw usage(`there is no key ${key}`);
	if (issue.received === "undefined") throw usage(`${key} is missing`);
	throw usage(`${key}: ${issue.message}`);
}

function describeFaults(faults: { number: number; problem: string }[]): string {
	const described = faults
		.sort((a, b) => a.number - b.number)
		.slice(0, maxFaults)
		.map(({ number, problem }) => `line ${number}: ${problem}`);
	const more = faults.length - described.length;
	if (more) described.push(`and ${more} more`);
	return `nothing was launched: ${described.join("; ")}`;
}

const listPredecessors = ({ after, after_any }: BatchLine) =>
	after ?? after_any ?? [];

/** Plans one line. An `after` that names no line of the batch is an id. */
function planLine(
	line: BatchLine,
	named: ReadonlyMap<string, unknown>,
): LaunchPlan {
	const { command, after, after_any, worktree, on_end, session, ...same } =
		line;
	if (line.stdin === "-")
		throw usage("stdin takes a file: many tasks cannot share standard input");
	const twice = pairs.find(([one, other]) => line[one] && line[other]);
	if (twice) throw usage(`${twice.join(" and ")} cannot be combined`);
	if (after && after_any) throw usage("after and after_any cannot be combined");
	const wrong = Object.keys(droidEntries).find((key) => key in line);
	if (command && wrong)
		throw usage(`${wrong} applies to droids only, and this is a command`);
	const ids = listPredecessors(line).filter((name) => !named.has(name));
	const given = ids.length ? ids.join(",") : undefined;
	const options: DroidOptions = {
		...same,
		...(after_any ? { afterAny: given } : { after: given }),
		tags: line.tag ?? line.tags,
		maxOutput: line.max_output,
		maxTokens: line.max_tokens,
		engineArgs: line.engine_args,
		onEnd: Array.isArray(on_end) ? JSON.stringify(on_end) : on_end,
		parentSession: session ?? line.parent_session_id,
		promptPath: line.prompt_file,
		worktree:
			worktree === true ? "" : worktree === false ? undefined : worktree,
	};
	return command ? planCommand({ ...options, command }) : planDroid(options);
}

/**
 * Lines that would wait for each other, the first of them again at the end; undefined if there are none.
 * Of several lines with one key only the first is launched, and the others mean its task.
 */
function findCycle(
	read: readonly NumberedLine[],
	named: ReadonlyMap<string, NumberedLine>,
): NumberedLine[] | undefined {
	const byKey = new Map(
		read.toReversed().map((each) => [each.line.unique, each]),
	);
	const launched = (each: NumberedLine) =>
		(each.line.unique !== undefined && byKey.get(each.line.unique)) || each;
	const left = new Map<NumberedLine, NumberedLine[]>();
	for (const each of read) {
		const others = listPredecessors(each.line).flatMap(
			(name) => named.get(name) ?? [],
		);
		if (launched(each) === each) left.set(each, others.map(launched));
	}
	// A line that waits for none of the lines left can start and is removed.
	for (let size = -1; size !== left.size; ) {
		size = left.size;
		for (const [each, others] of left)
			if (!others.some((other) => left.has(other))) left.delete(each);
	}
	const path: NumberedLine[] = [];
	for (let [at] = left.keys(); at; ) {
		const begin = path.indexOf(at);
		path.push(at);
		if (begin >= 0) return path.slice(begin);
		at = left.get(at)?.find((other) => left.has(other));
	}
	return undefined;
}
