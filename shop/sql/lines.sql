-- The lines of the purchases registered in [since, until): 2.5 on average, at the day's list price less discounts.
-- One line in a thousand names an article the product file does not know.

insert into order_items
select
    order_id,
    line_number,
    product_id,
    quantity,
    gross - retail_discount - coupon_match,
    retail_discount,
    least(coupon, gross - retail_discount - coupon_match),
    coupon_match,
    ordered_at,
    registered_at
from (
    select
        *,
        case when coupon > 0 and match_share < 0.3 then least(0.50, coupon, gross - retail_discount) else 0 end as coupon_match
    from (
        select
            basket.*,
            coalesce(priced.price, 4.99) * quantity as gross,
            case when discount_share < 0.24
                then round(coalesce(priced.price, 4.99) * quantity * (0.05 + 1.1 * discount_share)::numeric, 2)
                else 0 end as retail_discount,
            case
                when coupon_share < 0.004 then 2.00
                when coupon_share < 0.015 then 1.00
                when coupon_share < 0.035 then 0.50
                else 0 end as coupon
        from (
            select
                *,
                case
                    when novelty_share < 0.001 then 9000000 + floor(50 * product_share)::bigint
                    when (novelty_share - 0.001) / 0.999 * ({product_count} + novelty_count) < novelty_count
                        then {product_count} + 1 + floor(novelty_count * product_share)::bigint
                    else 1 + (floor({product_count} * (exp(5 * product_share) - 1) / (exp(5.0) - 1))::bigint * 1000003) % {product_count}
                end as product_id,
                case
                    when quantity_share < 0.72 then 1
                    when quantity_share < 0.90 then 2
                    when quantity_share < 0.96 then 3
                    else 4 + floor(200 * (quantity_share - 0.96))::int
                end as quantity
            from (
                select
                    *,
                    pg_temp.unit('line novelty', order_id, line_number) as novelty_share,
                    pg_temp.unit('line product', order_id, line_number) as product_share,
                    pg_temp.unit('line quantity', order_id, line_number) as quantity_share,
                    pg_temp.unit('line discount', order_id, line_number) as discount_share,
                    pg_temp.unit('line coupon', order_id, line_number) as coupon_share,
                    pg_temp.unit('line match', order_id, line_number) as match_share
                from (
                    select
                        order_id,
                        novelty_count,
                        ordered_at,
                        registered_at,
                        generate_series(1, 1 + least(24, floor(-1.97 * ln(1 - pg_temp.unit('order lines', order_id))))::int)
                            as line_number
                    from pg_temp.purchases
                    where
                        registered_at >= {since} and registered_at < {until}
                        and (purged_at is null or purged_at >= {until})
                ) as numbered
                offset 0
            ) as shares
            offset 0
        ) as basket
        left join pg_temp.product_versions as priced
            on basket.product_id = priced.product_id
            and basket.ordered_at >= priced.valid_from and basket.ordered_at < priced.valid_to
        offset 0
    ) as marked
    offset 0
) as charged
order by order_id, line_number
