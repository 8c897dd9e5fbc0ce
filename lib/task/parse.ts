/**
 * Parses a record from JSON text, including records of `background-manager.py` and of a newer schema.
 */
import * as v from "valibot";
import { idPattern } from "./ids.ts";
import {
	autonomies,
	kinds,
	numberFields,
	reasons,
	type StructuredFields,
	schemaVersion,
	statuses,
	structuredFieldsSchema,
	type Task,
	textFields,
} from "./schema.ts";

/** Whether a field may hold any JSON. The schema bounds the depth of all others. */
const isOpenField = (key: string) =>
	(!usualChecks.has(key) && !simpleTypes.has(key)) ||
	key === "usage" ||
	key === "usage_before" ||
	key === "attempts";

/** Whether a newer bg wrote the record. Such a record is shown and never rewritten. */
export const hasNewerSchema = ({ schema = 0 }: Pick<Task, "schema">) =>
	schema > schemaVersion;

/** A record of a newer schema that this bg cannot read at all. */
export class NewerSchemaError extends Error {}

/**
 * Parses the JSON text of one record. Null counts as absent (`background-manager.py` wrote nulls). A list parses
 * 10,000 records: text and number fields are checked by table, the usual structured fields by plain code, and
 * valibot checks only what is unusual, or wrong. In a record of a newer schema, fields that this bg cannot read
 * are left out.
 * @throws Error if the text is not a record.
 */
export function parseTask(json: string): Task {
	const raw: unknown = JSON.parse(json);
	if (typeof raw !== "object" || raw === null) throw new Error("not an object");
	const record = raw as Record<string, unknown>;
	const isNewer = typeof record.schema === "number" && hasNewerSchema(record);
	let isUsual = !isNewer;
	let wrong: string | undefined;
	for (const key in record) {
		const value = record[key];
		if (value === null) {
			delete record[key];
			continue;
		}
		const type = simpleTypes.get(key);
		if (type !== undefined) {
			if (typeof value !== type) wrong ??= key;
			continue;
		}
		if (typeof value === "object" && isOpenField(key) && isTooDeep(value))
			throw new Error(`its ${key} is too deep`);
		const check = usualChecks.get(key);
		if (check) isUsual &&= check(value);
	}
	if (isNewer) return parseNewerRecord(record);
	if (wrong !== undefined)
		throw new Error(`its ${wrong} is not a ${simpleTypes.get(wrong)}`);
	if (!isUsual || record.id === undefined || record.status === undefined)
		return v.parse(structuredFieldsSchema(), record);
	record.kind ??= "droid";
	record.description ??= "";
	return record as Task;
}

/** Whether a JSON value is nested deeper than `levels`: JSON.stringify could overflow the stack. */
export function isTooDeep(value: unknown, levels = 100): boolean {
	if (typeof value !== "object" || value === null) return false;
	if (levels === 0) return true;
	const fields = value as Record<string, unknown>;
	for (const key in fields) if (isTooDeep(fields[key], levels - 1)) return true;
	return false;
}

// --- internal ---

function parseNewerRecord(record: Record<string, unknown>): Task {
	for (const key of listWrongFields(record)) delete record[key];
	for (const { path } of v.safeParse(structuredFieldsSchema(), record).issues ??
		[])
		delete record[String(path?.[0]?.key)];
	const parsed = v.safeParse(structuredFieldsSchema(), record);
	if (parsed.success) return parsed.output;
	throw new NewerSchemaError(
		`it was written by a newer bg (schema ${record.schema})`,
	);
}

/** The types of the text and number fields. */
const simpleTypes = new Map<string, "string" | "number">([
	...textFields.map((key) => [key, "string"] as const),
	...numberFields.map((key) => [key, "number"] as const),
]);

/** The text and number fields whose value has another type. */
const listWrongFields = (record: Record<string, unknown>): string[] =>
	[...simpleTypes]
		.filter(
			([key, type]) => record[key] !== undefined && typeof record[key] !== type,
		)
		.map(([key]) => key);

const isText = (value: unknown) => typeof value === "string";

const isObject = (value: unknown): value is Record<string, unknown> =>
	typeof value === "object" && value !== null && !Array.isArray(value);

const isListOfTexts = (value: unknown) =>
	Array.isArray(value) && value.every(isText);

const isOneOf = (words: readonly string[]) => {
	const known = new Set<unknown>(words);
	return (value: unknown) => known.has(value);
};

const isOptionalText = (value: unknown) => value === undefined || isText(value);

const isIdentity = (value: unknown) =>
	isObject(value) &&
	isText(value.machine) &&
	isText(value.boot) &&
	isText(value.start) &&
	Number.isInteger(value.pid) &&
	Number(value.pid) > 0 &&
	isOptionalText(value.job);

const isProgress = (value: unknown) =>
	isObject(value) &&
	typeof value.toolCalls === "number" &&
	isOptionalText(value.lastTool) &&
	isOptionalText(value.lastUpdate) &&
	isOptionalText(value.lastMessage) &&
	isOptionalText(value.lastMessageAt) &&
	isOptionalText(value.outputFile);

/**
 * Whether the value of a structured field is certainly right; false leaves it to valibot. Every field of
 * the schema is here.
 */
const usualChecks = new Map<string, (value: unknown) => boolean>(
	Object.entries({
		id: (value) => isText(value) && idPattern.test(value as string),
		kind: isOneOf(kinds),
		description: isText,
		autonomy: isOneOf(autonomies),
		command: isListOfTexts,
		via: isOneOf(["argv", "file", "private"]),
		status: isOneOf(statuses),
		reason: isOneOf(reasons),
		process: isIdentity,
		supervisor: isIdentity,
		progress: isProgress,
		usage: isObject,
		usage_before: isObject,
		tags: isListOfTexts,
		after: isListOfTexts,
		on_end: isListOfTexts,
		stop: () => false,
		engine: () => false,
		left_behind: () => false,
		after_mode: () => false,
		attempts: () => false,
	} satisfies Record<
		keyof StructuredFields["entries"],
		(value: unknown) => boolean
	>),
);
