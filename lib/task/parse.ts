/**
 * Parses a record from JSON text, including records of the old script and of a newer schema.
 */
import * as v from "valibot";
import {
	numberFields,
	StructuredFields,
	schemaVersion,
	type Task,
	textFields,
} from "./schema.ts";

/** Fields that may hold anything; of all others the structure says how deep they are. */
const isOpenField = (key: string) =>
	!(key in StructuredFields.entries) || key === "usage" || key === "attempts";

/** By a bg that knows more than this one: its record is shown, and left as it is. */
export const hasNewerSchema = ({ schema = 0 }: Pick<Task, "schema">) =>
	schema > schemaVersion;

/** Says that of a record which says nothing else to this one. */
export class NewerSchemaError extends Error {}

/**
 * Reads one record, as JSON text. A null (the old script wrote them) counts as absent. Half of the
 * fields are checked by a table, for a list reads ten thousand records at once. Of a record by a newer
 * schema what this one does not understand is left out.
 * @throws Error where the text is no record.
 */
export function parseTask(json: string): Task {
	const raw: unknown = JSON.parse(json);
	if (typeof raw !== "object" || raw === null) throw new Error("not an object");
	const record = raw as Record<string, unknown>;
	for (const key in record) {
		const value = record[key];
		if (value === null) delete record[key];
		else if (typeof value === "object" && isOpenField(key) && isTooDeep(value))
			throw new Error(`its ${key} is too deep`);
	}
	if (typeof record.schema === "number" && hasNewerSchema(record))
		return parseNewerRecord(record);
	assertFieldTypes(record, textFields, "string");
	assertFieldTypes(record, numberFields, "number");
	return v.parse(StructuredFields, record);
}

/** Whether a value of JSON is nested so deep that writing it again could fail. */
export function isTooDeep(value: unknown, levels = 100): boolean {
	if (typeof value !== "object" || value === null) return false;
	if (levels === 0) return true;
	const fields = value as Record<string, unknown>;
	for (const key in fields) if (isTooDeep(fields[key], levels - 1)) return true;
	return false;
}

// --- internal ---

function parseNewerRecord(record: Record<string, unknown>): Task {
	const types = { string: textFields, number: numberFields };
	for (const [type, keys] of Object.entries(types))
		for (const key of keys) if (typeof record[key] !== type) delete record[key];
	for (const { path } of v.safeParse(StructuredFields, record).issues ?? [])
		delete record[String(path?.[0]?.key)];
	const parsed = v.safeParse(StructuredFields, record);
	if (parsed.success) return parsed.output;
	throw new NewerSchemaError(`it is by a newer bg (schema ${record.schema})`);
}

function assertFieldTypes(
	record: Record<string, unknown>,
	keys: readonly string[],
	type: "string" | "number",
): void {
	for (const key of keys) {
		const value = record[key];
		if (value !== undefined && typeof value !== type)
			throw new Error(`its ${key} is not a ${type}`);
	}
}
