#!/usr/bin/env bun
/**
 * The droid of fast tests: takes the argv of `droid exec` and prints, line for line, what droid
 * 0.215.0 was recorded to print. The prompt decides, as it does with the scripted model:
 *
 *     SAY[text]  RUN[command]  FAIL[status]   anything else is answered with one fixed sentence
 *     TOKENS[n]                               each turn takes n tokens of input instead of 10
 *
 * As droid does, it writes what its session has used to the settings file of the session, after each turn.
 * Like droid it exits 1 on an unknown option or an empty prompt, gives each tool a session of its
 * own, and exits 0 with a normal completion on SIGTERM. `$STAND_IN_LOG` gets its argv and prompt.
 */
import { spawn } from "node:child_process";
import {
	appendFileSync,
	mkdirSync,
	readFileSync,
	writeFileSync,
} from "node:fs";
import { parseArgs } from "node:util";

let session_id: string = crypto.randomUUID();

function fail(message: string): never {
	console.error(message);
	process.exit(1);
}

function print(event: object): void {
	console.log(JSON.stringify(event));
}

function message(role: string, text: string): void {
	const id = crypto.randomUUID();
	print({ type: "message", role, id, text, timestamp: Date.now(), session_id });
}

function readPrompt(): string {
	if (process.argv[2] !== "exec") fail("error: unknown command");
	const { values, positionals } = parseArgs({
		args: process.argv.slice(3),
		allowPositionals: true,
		options: {
			auto: { type: "string" },
			"output-format": { type: "string", short: "o" },
			model: { type: "string", short: "m" },
			"reasoning-effort": { type: "string", short: "r" },
			"only-tools": { type: "string" },
			"append-system-prompt-file": { type: "string" },
			file: { type: "string", short: "f" },
			session: { type: "string", short: "s" },
			fork: { type: "string" },
		},
	});
	if (!["low", "medium", "high"].includes(values.auto ?? ""))
		fail("error: invalid --auto");
	if (values["output-format"] !== "stream-json") fail("error: no stream");
	const prompt = values.file
		? readFileSync(values.file, "utf8")
		: (positionals[0] ?? "");
	if (!prompt.trim()) fail("Error: No prompt provided.");
	if (values.session) session_id = values.session;
	const system = values["append-system-prompt-file"];
	if (process.env.STAND_IN_LOG)
		appendFileSync(
			process.env.STAND_IN_LOG,
			`${JSON.stringify({
				argv: process.argv.slice(2),
				prompt,
				system: system && readFileSync(system, "utf8"),
				cwd: process.cwd(),
				env: process.env,
			})}\n`,
		);
	print({
		type: "system",
		subtype: "init",
		cwd: process.cwd(),
		session_id,
		tools: ["Read", "LS", "Execute"],
		model: values.model ?? "custom:Example-0",
		reasoning_effort: values["reasoning-effort"] ?? "none",
	});
	message("user", prompt);
	return prompt;
}

type Result = { isError: boolean; text: string };

async function execute(command: string): Promise<Result> {
	const call = { id: "call_1", messageId: crypto.randomUUID() };
	const parameters = { command, summary: "run it", timeout: 600 };
	print({
		type: "tool_call",
		...call,
		toolId: "Execute",
		toolName: "Execute",
		parameters,
		timestamp: Date.now(),
		session_id,
	});
	// Before the tool runs: a test that sees it may send a signal.
	const stop = () => tool.kill("SIGTERM");
	process.on("SIGTERM", stop);
	process.on("SIGINT", stop);
	const tool = spawn("bash", ["-c", command], { detached: true });
	let output = "";
	tool.stdout.on("data", (bytes) => {
		output += bytes;
	});
	tool.stderr.on("data", (bytes) => {
		output += bytes;
	});
	const [code, signal] = await new Promise<[number | null, string | null]>(
		(resolve) => tool.on("close", (code, signal) => resolve([code, signal])),
	);
	const result = signal
		? { isError: true, text: `Error: Command terminated by signal: ${signal}` }
		: {
				isError: code !== 0,
				text: `${output}\n\n[Process exited with code ${code}]`,
			};
	print({
		type: "tool_result",
		...call,
		toolId: "Execute",
		isError: result.isError,
		...(result.isError
			? { error: { type: "tool_error", message: result.text } }
			: { value: result.text }),
		timestamp: Date.now(),
		session_id,
	});
	return result;
}

let turns = 0;

const sessions = `${process.env.HOME}/.factory/sessions/${process.cwd().replaceAll("/", "-")}`;
const settingsFile = () => `${sessions}/${session_id}.settings.json`;

/** What a session used that is continued. */
function readTokensBefore(): { inputTokens: number; outputTokens: number } {
	try {
		return JSON.parse(readFileSync(settingsFile(), "utf8")).tokenUsage;
	} catch {
		return { inputTokens: 0, outputTokens: 0 };
	}
}

/** Writes the settings file of the session, in the layout of the real one. */
function writeSettings(): void {
	if (!process.env.HOME) return;
	const tokenUsage = {
		inputTokens: before.inputTokens + turns * inputTokens,
		outputTokens: before.outputTokens + turns * 5,
		cacheCreationTokens: 0,
		cacheReadTokens: 0,
		thinkingTokens: 0,
		factoryCredits: 0,
	};
	mkdirSync(sessions, { recursive: true });
	writeFileSync(
		settingsFile(),
		JSON.stringify({
			model: "custom:Example-0",
			tokenUsage,
			childInclusiveTokenUsageBySessionId: {},
			inclusiveTokenUsage: tokenUsage,
		}),
	);
}

function endTurn(): void {
	turns++;
	writeSettings();
}

const prompt = readPrompt();
const rule = (name: string) =>
	new RegExp(`${name}\\[([\\s\\S]*?)\\](?:$|\\n)`).exec(prompt)?.[1];
const status = rule("FAIL");
const command = rule("RUN");
const inputTokens = Number(rule("TOKENS") ?? 10);

const before = readTokensBefore();
writeSettings();
if (status) {
	const at = { timestamp: Date.now(), session_id };
	const failure = `${status} scripted failure`;
	print({ type: "error", source: "agent_loop", message: failure, ...at });
	print({ type: "error", source: "cli", message: "Exec failed", ...at });
	process.exit(1);
}
if (command !== undefined) endTurn();
const finalText =
	command === undefined
		? (rule("SAY") ?? "Hello from the scripted model.")
		: `DONE. ${(await execute(command)).text}`;
message("assistant", finalText);
endTurn();
print({
	type: "completion",
	finalText,
	numTurns: turns,
	durationMs: Math.round(performance.now()),
	session_id,
	timestamp: Date.now(),
	usage: {
		input_tokens: turns * inputTokens,
		output_tokens: turns * 5,
		cache_read_input_tokens: 0,
		cache_creation_input_tokens: 0,
		factory_credits: 0,
		ttft_ms: 62,
	},
});
process.exit(0);
