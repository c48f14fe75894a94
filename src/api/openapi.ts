/**
 * The admin API described in OpenAPI 3.1, made of the operations themselves: what is not listed here cannot be asked.
 */
import * as z from "zod";
import { type JsonOperation, jsonOperation, type Operation } from "./operation.ts";
import { TROUBLES } from "./problem.ts";

export const OPENAPI_PATH = "/api/v1/openapi.json";

type Json = Readonly<Record<string, unknown>>;

/** @param operations all but the one that this returns, which describes them and itself. */
export function openapiOperation(operations: readonly Operation[], version: string): Operation {
  let document: Json | undefined;
  const own: JsonOperation<object> = {
    method: "GET",
    path: OPENAPI_PATH,
    summary: "This description",
    input: z.object({}),
    answers: "json",
    output: z.looseObject({ openapi: z.string() }),
    run: () => {
      document ??= describeApi([...operations, listed], version);
      return document;
    },
  };
  const listed = jsonOperation(own);
  return listed;
}

export function describeApi(operations: readonly Operation[], version: string): Json {
  const paths: Record<string, Record<string, Json>> = {};
  for (const operation of operations) {
    const methods = paths[operation.path] ?? {};
    methods[operation.method.toLowerCase()] = describeOperation(operation);
    paths[operation.path] = methods;
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "wharfinger admin API",
      version,
      description:
        "Everything that the command line does with a mirror. There is no authentication: keep the admin listener on " +
        "loopback or behind something that has. Long work answers with application/x-ndjson: a JSON object each line, " +
        "`event` says of what; the last one is `done` with the `result`, or `failed` with `kind` and `message`. Empty " +
        "lines mean nothing. Closing the connection ends the work.",
    },
    paths,
    components: { schemas: { Error: errorSchema(), Failed: schemaOf(FAILED, "output") } },
  };
}

const PROBLEM = z.object({
  error: z.object({
    kind: z.string().describe("What kind of failure; `invalid`, `unknown`, `denied`, …"),
    message: z.string(),
    faults: z
      .array(z.object({ path: z.string(), message: z.string() }))
      .optional()
      .describe("Of malformed input: all that is wrong with it"),
  }),
});
const FAILED = z.object({ event: z.literal("failed"), kind: z.string(), message: z.string() });

function errorSchema(): Json {
  return schemaOf(PROBLEM, "output");
}

function describeOperation(operation: Operation): Json {
  const takesStream = operation.answers === "events" && operation.takesStream === true;
  const inQuery = operation.method === "GET" || operation.method === "DELETE" || takesStream;
  const input = schemaOf(operation.input, "input");
  const body = takesStream ? streamBody() : jsonBody(input);
  return {
    operationId: idOf(operation),
    summary: operation.summary,
    ...(inQuery ? { parameters: parametersOf(input) } : {}),
    ...(takesStream || !inQuery ? { requestBody: body } : {}),
    responses: { 200: success(operation), ...problems() },
  };
}

/** `POST /api/v1/warm/all` is `postWarmAll`. */
function idOf({ method, path }: Operation): string {
  const words = path.replace("/api/v1/", "").split(/[^A-Za-z0-9]+/);
  return method.toLowerCase() + words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("");
}

function parametersOf(input: Json): readonly Json[] {
  const { properties, required } = input;
  if (typeof properties !== "object" || properties === null) return [];
  const needed = new Set(Array.isArray(required) ? required.map(String) : []);
  return Object.entries(properties).map(([name, schema]: [string, Json]) => ({
    name,
    in: "query",
    required: needed.has(name),
    ...(typeof schema["description"] === "string" ? { description: schema["description"] } : {}),
    schema,
  }));
}

function jsonBody(schema: Json): Json {
  return { required: true, content: { "application/json": { schema } } };
}

function streamBody(): Json {
  return {
    required: true,
    content: { "application/octet-stream": { schema: {} }, "application/x-tar": { schema: {} } },
  };
}

function success(operation: Operation): Json {
  switch (operation.answers) {
    case "json":
      return {
        description: operation.summary,
        content: { "application/json": { schema: schemaOf(operation.output, "output") } },
      };
    case "events":
      return {
        description: "Events, a line each; the last one is `done` or `failed`",
        content: { "application/x-ndjson": { schema: eventSchema(operation.tells ?? {}) } },
      };
    case "stream": {
      const types = operation.contentTypes ?? ["application/octet-stream"];
      return {
        description: operation.summary,
        content: Object.fromEntries(types.map((type) => [type, { schema: {} }])),
      };
    }
  }
}

function eventSchema(tells: Readonly<Record<string, z.ZodType<object>>>): Json {
  const known = Object.entries(tells).map(([event, schema]) => ({
    allOf: [
      { type: "object", properties: { event: { const: event } }, required: ["event"] },
      schemaOf(schema, "output"),
    ],
  }));
  const done = {
    type: "object",
    properties: { event: { const: "done" }, result: { type: "object" } },
    required: ["event", "result"],
  };
  const ends = "done" in tells ? [] : [done];
  return { anyOf: [...known, ...ends, { $ref: "#/components/schemas/Failed" }] };
}

function problems(): Json {
  const content = { "application/json": { schema: { $ref: "#/components/schemas/Error" } } };
  return Object.fromEntries(
    Object.entries(TROUBLES).map(([status, description]) => [status, { description, content }]),
  );
}

function schemaOf(schema: z.ZodType, io: "input" | "output"): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: "any" });
  return rest;
}
