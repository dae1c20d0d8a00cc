-- Products that came on sale or were priced anew in [since, until), as they are at `until`.

insert into products
select
    product_id,
    brand || ' ' || pg_temp.pick({styles}::text[], pg_temp.unit('product style', product_id)) || ' ' || article
    || case when package_size = 'each' then '' else ', ' || package_size end,
    department,
    category,
    brand,
    package_size,
    price,
    round(first_price * share_of_cost::numeric, 2),
    true,
    created_at,
    valid_from
from (
    select
        versions.*,
        categories.department,
        categories.category,
        pg_temp.pick({brands}::text[], pg_temp.unit('product brand', versions.product_id)) as brand,
        pg_temp.pick(categories.articles, pg_temp.unit('product article', versions.product_id)) as article,
        pg_temp.pick(categories.sizes, pg_temp.unit('product size', versions.product_id)) as package_size
    from pg_temp.product_versions as versions
    inner join pg_temp.categories on versions.category_number = categories.category_number
    where versions.valid_to = 'infinity' and versions.valid_from >= {since}
    offset 0
) as latest
order by product_id
on conflict (product_id) do update set
    unit_price_amount = excluded.unit_price_amount,
    updated_at = excluded.updated_at
returning created_at < {since} as is_price_change
