/**
 * A droid's definition: a Markdown file with front matter. Pure: no file, no process.
 *
 * Measured on droid 0.215.0. No value of a definition can become a flag. What cannot be parsed is a
 * warning, not an error.
 */

export const droidNamePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** The settings in a droid's Markdown file. */
export type DroidDefinition = {
	/** What the droid is for. */
	description?: string;
	model?: string;
	reasoningEffort?: string;
	tools?: string[];
	/** The system prompt. */
	body: string;
	warnings: string[];
};

/** The tools of `tools: read-only`. */
export const readOnlyTools = ["Read", "LS", "Grep", "Glob"];

/** The most warnings about one definition. */
const maxWarnings = 10;

const toolPattern = /^[A-Za-z][A-Za-z0-9_:/.%-]*$/;
const wordPattern = /^[A-Za-z0-9][\w.:/@-]*$/;

/**
 * Parses a droid's definition: front matter between two `---` lines, then the system prompt. It reads
 * `key: value`, `[a, b]`, `- a` lists and block texts (`|`, `>`) of YAML; anything else becomes a warning.
 */
export function parseDefinition(text: string): DroidDefinition {
	const lines = text.replace(/^\uFEFF/, "").split(/\r?\n/);
	const end = lines[0]?.trim() === "---" ? lines.indexOf("---", 1) : -1;
	if (end < 0)
		return {
			body: text.trim(),
			warnings: ["its definition has no front matter"],
		};
	const { fields, warnings } = parseFrontMatter(lines.slice(1, end));
	const bodyLines = lines.slice(end + 1);
	const description = fields.get("description");
	const definition: DroidDefinition = {
		...(typeof description === "string" && description && { description }),
		model: findWord(fields, "model", warnings),
		reasoningEffort: findWord(fields, "reasoningEffort", warnings),
		tools: findTools(fields, warnings),
		body: bodyLines.join("\n").trim(),
		warnings,
	};
	const more = warnings.splice(maxWarnings).length;
	if (more) warnings.push(`and ${more} more faults of its definition`);
	return definition;
}

// --- internal ---

type Fields = ReadonlyMap<string, string | string[]>;

function parseFrontMatter(lines: string[]) {
	const fields = new Map<string, string | string[]>();
	const warnings: string[] = [];
	let list: string[] | undefined;
	/** The key of the block text that goes on as long as its lines are indented. */
	let block: string | undefined;
	for (const line of lines) {
		if (block !== undefined && /^\s|^$/.test(line)) {
			fields.set(block, `${fields.get(block)} ${line.trim()}`.trim());
			continue;
		}
		block = undefined;
		if (!line.trim() || line.trimStart().startsWith("#")) continue;
		const item = /^\s*-\s+(.+)$/.exec(line);
		const field = /^([A-Za-z][\w-]*)\s*:\s*(.*)$/.exec(line);
		if (item && list) list.push(unquote(item[1] as string));
		else if (field) {
			const [, key = "", value = ""] = field;
			if (/^[|>][+-]?$/.test(value.trim())) {
				block = key;
				list = undefined;
				fields.set(key, "");
				continue;
			}
			const [, inBrackets] = /^\[(.*)\]$/.exec(value.trim()) ?? [];
			const words = inBrackets?.split(",").map(unquote);
			list = value.trim() ? words?.filter((word) => word) : [];
			fields.set(key, list ?? unquote(value));
			if (words) list = undefined;
		} else
			warnings.push(
				`its definition has a line bg cannot read: ${line.slice(0, 100)}`,
			);
	}
	return { fields, warnings };
}

function findWord(
	fields: Fields,
	key: string,
	warnings: string[],
): string | undefined {
	const value = fields.get(key);
	if (!value?.length || value === "inherit") return undefined;
	if (typeof value === "string" && wordPattern.test(value)) return value;
	warnings.push(`its definition has an unusable ${key}`);
	return undefined;
}

function findTools(fields: Fields, warnings: string[]): string[] | undefined {
	const value = fields.get("tools");
	if (!value?.length || value === "all") return undefined;
	if (value === "read-only") return readOnlyTools;
	const list =
		typeof value === "string"
			? value.split(",").map((each) => each.trim())
			: value;
	if (list.every((tool) => toolPattern.test(tool))) return list;
	warnings.push(
		"its definition has an unusable list of tools: it can only read",
	);
	return readOnlyTools;
}

function unquote(value: string): string {
	const trimmed = value.trim();
	return /^(["'])(.*)\1$/.exec(trimmed)?.[2] ?? trimmed;
}
