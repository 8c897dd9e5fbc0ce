import { expect, test } from "bun:test";
import * as fc from "fast-check";
import {
	digestStream,
	digestTail,
	parseDigest,
	parseEvent,
	renderEvent,
} from "../../lib/droid/stream.ts";

const line = (event: object) => `${JSON.stringify(event)}\n`;
const at = 1795336832750;
const stream = [
	line({ type: "system", subtype: "init", session_id: "s-1", model: "m" }),
	line({ type: "message", role: "user", text: "do it", timestamp: at }),
	line({
		type: "tool_call",
		toolName: "Execute",
		parameters: { command: "ls", summary: "x" },
		timestamp: at + 1,
	}),
	line({ type: "tool_result", isError: false, value: "a\nb", timestamp: at }),
	"not JSON at all\n",
	line({ type: "message", role: "assistant", text: "päpär 😀", timestamp: at }),
	line({
		type: "completion",
		finalText: "päpär 😀",
		numTurns: 2,
		durationMs: 1335,
		usage: { input_tokens: 20, output_tokens: 10 },
	}),
];

test("a digest has the session, progress, result and usage", () => {
	expect(digestStream(parseDigest({}), Buffer.from(stream.join("")))).toEqual({
		offset: Buffer.byteLength(stream.join("")),
		sessionId: "s-1",
		model: "m",
		finalText: "päpär 😀",
		firstText: "not JSON at all",
		usage: { input_tokens: 20, output_tokens: 10 },
		progress: {
			toolCalls: 1,
			lastTool: "Execute",
			lastMessage: "päpär 😀",
			lastUpdate: new Date(at).toISOString(),
			lastMessageAt: new Date(at).toISOString(),
		},
	});
});

test("a stream read in pieces, cut anywhere, has the same digest", () => {
	const bytes = Buffer.from(stream.join(""));
	const whole = digestStream(parseDigest({}), bytes);
	fc.assert(
		fc.property(fc.array(fc.nat(bytes.length)), (cuts) => {
			let digest = parseDigest(undefined);
			for (const cut of [...cuts.toSorted((a, b) => a - b), bytes.length])
				digest = digestStream(digest, bytes.subarray(digest.offset, cut));
			expect(digest).toEqual(whole);
		}),
	);
});

test("the end of a stream has the result, even if its first line is torn", () => {
	const bytes = Buffer.from(stream.join(""));
	expect(digestTail(bytes.subarray(60)).finalText).toBe("päpär 😀");
});

test("droid's own message is preferred to the client's \"Exec failed\"", () => {
	const failed = [
		line({ type: "error", source: "agent_loop", message: "400 no credit" }),
		line({ type: "error", source: "cli", message: "Exec failed" }),
	];
	expect(digestTail(Buffer.from(failed.join(""))).lastError).toBe(
		"400 no credit",
	);
});

test("a stream is rendered as a conversation", () => {
	const events = stream.map((each) => renderEvent(parseEvent(each.trim())));
	expect(events).toEqual([
		"# session s-1, model m",
		"> do it",
		"→ Execute ls",
		"  a\n  b",
		"not JSON at all",
		"päpär 😀",
		"# done (2 turns, 1.3s, 20 tokens in, 10 out)",
	]);
});

test("a tool's error is shown as one", () => {
	const event = {
		type: "tool_result",
		isError: true,
		error: { message: "no" },
	};
	expect(renderEvent(parseEvent(JSON.stringify(event)))).toBe("  ✗ no");
});

test("any line is an event or text, never a crash", () => {
	const types = fc.constantFrom(
		..."system message tool_call tool_result error completion odd".split(" "),
	);
	fc.assert(
		fc.property(
			fc.oneof(
				fc.string(),
				fc.json(),
				fc
					.tuple(types, fc.dictionary(fc.string(), fc.jsonValue()))
					.map(([type, rest]) => JSON.stringify({ ...rest, type })),
			),
			(text) => {
				expect(typeof renderEvent(parseEvent(text))).toBe("string");
				digestStream(parseDigest(undefined), Buffer.from(`${text}\n`));
			},
		),
	);
});
