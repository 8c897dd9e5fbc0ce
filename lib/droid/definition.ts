/**
 * A droid's definition: a Markdown file with front matter. Pure: no file, no process.
 *
 * Measured on droid 0.215.0. No value of a definition can become a flag. What cannot be parsed is a
 * warning, not an error.
 */

export const droidNamePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** The settings in a droid's Markdown file. */
export type DroidDefinition = {
	model?: string;
	reasoningEffort?: string;
	tools?: string[];
	/** The system prompt. */
	body: string;
	warnings: string[];
};

/** The tools of `tools: read-only`. */
const readOnlyTools = ["Read", "LS", "Grep", "Glob"];

/** The most warnings about one definition. */
const maxWarnings = 10;

const toolPattern = /^[A-Za-z][A-Za-z0-9_:/.%-]*$/;
const wordPattern = /^[A-Za-z0-9][\w.:/@-]*$/;

/**
 * Parses a droid's definition: front matter between two `---` lines, then the system prompt. It reads
 * `key: value`, `[a, b]` and `- a` lists of YAML; anything else becomes a warning.
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
	const definition: DroidDefinition = {
		body: lines
			.slice(end + 1)
			.join("\n")
			.trim(),
		warnings,
	};
	const word = (key: "model" | "reasoningEffort") => {
		const value = fields.get(key);
		if (value === undefined || value === "" || value === "inherit") return;
		if (typeof value === "string" && wordPattern.test(value))
			definition[key] = value;
		else warnings.push(`its definition has an unusable ${key}`);
	};
	word("model");
	word("reasoningEffort");
	const tools = fields.get("tools");
	if (tools === "read-only") definition.tools = readOnlyTools;
	else if (tools !== undefined && tools !== "" && tools !== "all") {
		const list =
			typeof tools === "string"
				? tools.split(",").map((each) => each.trim())
				: tools;
		if (list.length > 0 && list.every((tool) => toolPattern.test(tool)))
			definition.tools = list;
		else warnings.push("its definition has an unusable list of tools");
	}
	const more = warnings.splice(maxWarnings).length;
	if (more) warnings.push(`and ${more} more faults of its definition`);
	return definition;
}

// --- internal ---

function parseFrontMatter(lines: string[]) {
	const fields = new Map<string, string | string[]>();
	const warnings: string[] = [];
	let list: string[] | undefined;
	for (const line of lines) {
		if (!line.trim() || line.trimStart().startsWith("#")) continue;
		const item = /^\s*-\s+(.+)$/.exec(line);
		const field = /^([A-Za-z][\w-]*)\s*:\s*(.*)$/.exec(line);
		if (item && list) list.push(unquote(item[1] as string));
		else if (field) {
			const [, key = "", value = ""] = field;
			const bracketed = /^\[(.*)\]$/.exec(value.trim());
			list = value.trim() ? undefined : [];
			fields.set(
				key,
				bracketed
					? (bracketed[1] as string)
							.split(",")
							.map(unquote)
							.filter((each) => each)
					: (list ?? unquote(value)),
			);
		} else
			warnings.push(
				`its definition has a line bg cannot read: ${line.slice(0, 100)}`,
			);
	}
	for (const [key, value] of fields)
		if (Array.isArray(value) && value.length === 0) fields.set(key, "");
	return { fields, warnings };
}

function unquote(value: string): string {
	const trimmed = value.trim();
	return /^(["'])(.*)\1$/.exec(trimmed)?.[2] ?? trimmed;
}
