-- One row per table or view of a schema: facts, columns, unique keys (primary first), columns that lead an index.
with relations as (
    select c.oid, c.relname, c.relkind, c.relrowsecurity, c.reltuples, family.rows as family_rows, family.bytes,
        family.inserted, family.updated, family.deleted
    from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        cross join lateral (
            -- the relation and, of a partitioned one or of a parent, all that lies below it
            select sum(m.reltuples) filter (where m.reltuples >= 0) as rows,
                sum(pg_total_relation_size(m.oid)) as bytes,
                sum(s.n_tup_ins) as inserted, sum(s.n_tup_upd) as updated, sum(s.n_tup_del) as deleted
            from (
                    select c.oid as id
                    union select i.inhrelid from pg_inherits i where i.inhparent = c.oid
                    union select p.relid from pg_partition_tree(c.oid) p where c.relkind = 'p'
                ) as members
                join pg_class m on m.oid = members.id
                left join pg_stat_user_tables s on s.relid = m.oid
        ) as family
    where n.nspname = %(schema)s
        and c.relkind in ('r', 'p', 'v', 'm', 'f') and c.relpersistence <> 't'
        and not exists (select from pg_inherits i where i.inhrelid = c.oid)
        and not exists (
            select from pg_depend d
            where d.objid = c.oid and d.classid = 'pg_class'::regclass and d.deptype = 'e')
)
select
    json_build_object(
        'schema', %(schema)s::text,
        'name', r.relname,
        'kind', case r.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'f' then 'foreign table'
            when 'p' then 'partitioned table' else 'table' end,
        'rows', case when r.relkind = 'v' then null else coalesce(r.family_rows, r.reltuples) end,
        'bytes', coalesce(r.bytes, 0),
        'description', coalesce(obj_description(r.oid, 'pg_class'), ''),
        'has_primary', exists (select from pg_index i where i.indrelid = r.oid and i.indisprimary),
        'is_readable', has_table_privilege(r.oid, 'select'),
        'is_filtered', row_security_active(r.oid),
        'partitioned_by', case when r.relkind = 'p' then pg_get_partkeydef(r.oid) end,
        'inserted', r.inserted, 'updated', r.updated, 'deleted', r.deleted
    ) as facts,
    coalesce(columns.listed, '[]') as columns,
    coalesce(keys.listed, '[]') as keys,
    coalesce(indexes.listed, '[]') as indexed
from relations r
    left join lateral (
        select json_agg(
                json_build_object(
                    'name', a.attname,
                    'type', format_type(a.atttypid, a.atttypmod),
                    'kind', b.typname,
                    'is_nullable', not (a.attnotnull or t.typnotnull),
                    'default', pg_get_expr(d.adbin, d.adrelid),
                    'description', coalesce(col_description(r.oid, a.attnum), ''),
                    'nulls', s.null_frac, 'distinct', s.n_distinct, 'correlation', s.correlation,
                    'first', case when b.typname in ('date', 'timestamp', 'timestamptz')
                        then (s.histogram_bounds::text::text[])[1] end,
                    'last', case when b.typname in ('date', 'timestamp', 'timestamptz')
                        then (s.histogram_bounds::text::text[])[cardinality(s.histogram_bounds::text::text[])] end,
                    'set_by', setting.name
                ) order by a.attnum) as listed
        from pg_attribute a
            join pg_type t on t.oid = a.atttypid
            join pg_type b on b.oid = case when t.typtype = 'd' then t.typbasetype else t.oid end
            left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
            left join pg_stats s on s.schemaname = %(schema)s and s.tablename = r.relname and s.attname = a.attname
                and s.inherited = (r.relkind = 'p')
            left join lateral (
                -- a trigger before each update of a row whose function assigns the column, or is told its name
                select 'trigger ' || min(g.tgname) as name
                from pg_trigger g join pg_proc p on p.oid = g.tgfoid
                where g.tgrelid = r.oid and not g.tgisinternal and g.tgtype & 19 = 19
                    and (position(lower('new.' || a.attname) in lower(replace(p.prosrc, '"', ''))) > 0
                        or position(a.attname in encode(g.tgargs, 'escape')) > 0)
            ) as setting on true
        where a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
    ) as columns on true
    left join lateral (
        select json_agg(k.names order by k.indisprimary desc, json_array_length(k.names), k.name) as listed
        from (
            select i.indisprimary, x.relname as name, json_agg(a.attname order by part.place) as names
            from pg_index i
                join pg_class x on x.oid = i.indexrelid
                cross join lateral unnest(i.indkey::int2[]) with ordinality as part(number, place)
                join pg_attribute a on a.attrelid = i.indrelid and a.attnum = part.number
            where i.indrelid = r.oid and i.indisunique and i.indisvalid
                and i.indpred is null and i.indexprs is null and part.place <= i.indnkeyatts
            group by i.indexrelid, i.indisprimary, x.relname
            having bool_and(a.attnotnull)
        ) as k
    ) as keys on true
    left join lateral (
        select json_agg(distinct a.attname) as listed
        from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
        where i.indrelid = r.oid and i.indisvalid and i.indpred is null
    ) as indexes on true
order by r.relname
