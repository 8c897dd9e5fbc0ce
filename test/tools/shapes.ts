/** Pieces of the shapes of answers: schemas that reject unknown keys and say what each key means. */
import * as v from "valibot";

export type Shape = v.GenericSchema;
export type Keys = Record<string, Shape>;

const say = <S extends Shape>(schema: S, meaning: string) =>
	v.pipe(schema, v.description(meaning));

export const text = (meaning: string) => say(v.string(), meaning);
export const count = (meaning: string) => say(v.number(), meaning);
export const yes = (meaning: string) => say(v.boolean(), meaning);
export const oneOf = (words: readonly string[], meaning: string) =>
	say(v.picklist([...words]), meaning);
export const either = (shapes: Shape[], meaning: string) =>
	say(v.union(shapes), meaning);
export const texts = (meaning: string) => say(v.array(v.string()), meaning);
/** Any number of keys, which are names. */
export const byName = (value: Shape, meaning: string) =>
	say(v.record(v.string(), value), meaning);
/** Any JSON, of which bg promises nothing. */
export const anything = (meaning: string) => say(v.unknown(), meaning);
/** A key that may be missing. */
export const maybe = (shape: Shape) => v.optional(shape);
export const object = (keys: Keys, meaning = "") =>
	say(v.strictObject(keys), meaning);
export const list = (keys: Keys, meaning: string) =>
	say(v.array(v.strictObject(keys)), meaning);
/** Keys of which each may be missing. */
export const partial = (keys: Keys): Keys =>
	Object.fromEntries(
		Object.entries(keys).map(([name, shape]) => [name, maybe(shape)]),
	);

/** Lists the keys of a shape: path, type, meaning. A key that may be missing ends with `?`. */
export function listKeys(shape: Shape, path = ""): [string, string, string][] {
	const { inner, isOptional, meaning } = unwrap(shape);
	const name = path + (isOptional ? "?" : "");
	const own: [string, string, string][] = path
		? [[name, nameType(inner), meaning]]
		: [];
	const item = findObject(inner);
	const below = path && `${path}${inner.type === "array" ? "[]" : ""}.`;
	const entries = item.entries as Keys | undefined;
	return [
		...own,
		...Object.entries(entries ?? {}).flatMap(([key, each]) =>
			listKeys(each, below + key),
		),
	];
}

// --- internal ---

type Inner = Shape & {
	type: string;
	entries?: unknown;
	item?: unknown;
	value?: unknown;
	options?: unknown;
};

/** The object whose keys are told: the item of a list, the first of several shapes. */
function findObject(inner: Inner): Inner {
	if (inner.type === "array") return unwrap(inner.item as Shape).inner;
	const [first] = inner.type === "union" ? (inner.options as Shape[]) : [];
	return first ? unwrap(first).inner : inner;
}

/** A schema without what is around it. */
function unwrap(shape: Shape) {
	const isOptional = shape.type === "optional";
	const outer = (
		isOptional ? (shape as v.OptionalSchema<Shape, undefined>).wrapped : shape
	) as Shape;
	const meaning = v.getDescription(outer) ?? "";
	const [first] = "pipe" in outer ? (outer.pipe as Shape[]) : [outer];
	return { inner: (first ?? outer) as Inner, isOptional, meaning };
}

function nameType(inner: Inner): string {
	switch (inner.type) {
		case "string":
			return "text";
		case "boolean":
			return "true or false";
		case "picklist":
			return (inner.options as string[]).map((word) => `\`${word}\``).join(" ");
		case "array": {
			const item = unwrap(inner.item as Shape).inner;
			return item.type === "strict_object"
				? "list"
				: `list of ${nameType(item)}s`;
		}
		case "union": {
			const options = inner.options as Shape[];
			const names = options.map((each) => nameType(unwrap(each).inner));
			return [...new Set(names)].join(" or ");
		}
		case "strict_object":
			return "object";
		case "record":
			return `object of ${nameType(unwrap(inner.value as Shape).inner)}s`;
		case "unknown":
			return "any";
		default:
			return inner.type;
	}
}
