/**
 * Parses a record from JSON text, including records of `background-manager.py` and of a newer schema.
 */
import * as v from "valibot";
import {
	numberFields,
	StructuredFields,
	schemaVersion,
	type Task,
	textFields,
} from "./schema.ts";

/** Whether a field may hold any JSON. The schema bounds the depth of all others. */
const isOpenField = (key: string) =>
	!(key in StructuredFields.entries) || key === "usage" || key === "attempts";

/** Whether a newer bg wrote the record. Such a record is shown and never rewritten. */
export const hasNewerSchema = ({ schema = 0 }: Pick<Task, "schema">) =>
	schema > schemaVersion;

/** A record of a newer schema that this bg cannot read at all. */
export class NewerSchemaError extends Error {}

/**
 * Parses the JSON text of one record. Null counts as absent (`background-manager.py` wrote nulls).
 * Text and number fields are checked by table instead of valibot, because a list parses 10,000 records.
 * In a record of a newer schema, fields that this bg cannot read are left out.
 * @throws Error if the text is not a record.
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
	const [wrong] = listWrongFields(record);
	if (wrong) throw new Error(`its ${wrong.key} is not a ${wrong.type}`);
	return v.parse(StructuredFields, record);
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
	for (const { key } of listWrongFields(record)) delete record[key];
	for (const { path } of v.safeParse(StructuredFields, record).issues ?? [])
		delete record[String(path?.[0]?.key)];
	const parsed = v.safeParse(StructuredFields, record);
	if (parsed.success) return parsed.output;
	throw new NewerSchemaError(
		`it was written by a newer bg (schema ${record.schema})`,
	);
}

const simpleFields = [
	...textFields.map((key) => ({ key, type: "string" })),
	...numberFields.map((key) => ({ key, type: "number" })),
];

/** The text and number fields whose value has another type. */
const listWrongFields = (record: Record<string, unknown>) =>
	simpleFields.filter(
		({ key, type }) => record[key] !== undefined && typeof record[key] !== type,
	);
